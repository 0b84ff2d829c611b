"""README keeps its word: its commands run, its session runs, its figures are the committed ones."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from scaling.__main__ import main
from scaling.fitted import read_forecasts
from scaling.registry import Ledger, standing

pytestmark = pytest.mark.long
ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BIN = Path(sys.executable).parent


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def shell_lines() -> list[str]:
    return [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines() if line.strip()]


def test_make_commands_exist():
    names = {line.split()[1] for line in shell_lines() if line.startswith("make ")}
    assert {"forecast", "test"} <= names
    for name in names:
        done = subprocess.run(["make", "--dry-run", name], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_every_scaling_command_runs_in_order(tmp_path, monkeypatch, capfd):
    """The first by the installed command in a process of its own, the others as that command calls them."""
    (tmp_path / "points.csv").write_text(
        "C,loss\n" + "\n".join(f"{10.0**e},{1.7 + 2 * 10 ** (-0.15 * (e - 18))}" for e in range(18, 23)) + "\n"
    )
    (tmp_path / "sizes.csv").write_text(
        "N,D,loss\n"
        + "\n".join(
            f"{n},{d},{1.8 + 480 * n**-0.35 + 2100 * d**-0.37}" for n in (1e8, 4e8, 2e9) for d in (4e9, 2e10, 1e11)
        )
        + "\n"
    )
    (tmp_path / "other.csv").write_text(
        "C,loss\n" + "\n".join(f"{10.0**e},{1.7 + 2.1 * 10 ** (-0.14 * (e - 18))}" for e in range(18, 23)) + "\n"
    )
    (tmp_path / "evaluations.csv").write_text(
        "C,err_easy,err_hard\n"
        + "\n".join(f"{10.0**e},{0.8 * 10 ** (-0.1 * (e - 18))},{0.9 + 0.01 * (e % 2)}" for e in range(18, 24))
        + "\n"
    )
    rows = [{"step": step, "reward": 0.7 - 0.5 * 0.97**step + 0.01 * (-1) ** step} for step in range(1, 61)]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"max_steps": 400, "log_history": rows}))
    first, *commands = [line for line in shell_lines() if line.startswith("scaling ")]
    assert len(commands) >= 9
    done = subprocess.run(f"{BIN}/{first}", shell=True, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{first}\n{done.stderr}"
    monkeypatch.chdir(tmp_path)
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, f"{command}\n{capfd.readouterr().err}"
    assert (tmp_path / "report.html").stat().st_size > 50_000
    (record,) = standing.records(Ledger(tmp_path / "demo" / "ledger", create=False))
    assert record.entry.hash in (tmp_path / "report.html").read_text()
    assert all(f.max_x < f.target / 5 for f in read_forecasts(tmp_path / "forecasts.json"))
    session(tmp_path)


def session(tmp_path):
    """The session in Python, on the folder that the commands made."""
    (tmp_path / "forecast").symlink_to("demo")
    (code,) = blocks("python")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "pass_rate" in done.stdout


def test_verbs_in_the_text_exist():
    from scaling.__main__ import cli

    known = set(cli.list_commands(None))
    spoken = set(re.findall(r"`scaling ([a-z]+)", README)) | {
        line.split()[1] for line in shell_lines() if line.startswith("scaling ")
    }
    assert spoken <= known
    assert known - {"demo"} <= spoken | {"demo"}


def test_generated_parts_are_those_of_the_committed_example():
    from reports.readme import generated, section

    assert section(README) == generated(ROOT / "examples" / "demo.json")
