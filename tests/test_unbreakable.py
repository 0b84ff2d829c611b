"""The main job under SIGKILL, SIGTERM, broken pipes and a second job beside it: real processes, numbers bit for bit."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from benchmarks.kill_storm import children, demo, kinds, numbers
from scaling.errors import InputError
from scaling.gates import read_gates
from scaling.records import file_digest
from scaling.registry import Ledger, binding, book, standing
from sweeps import configs
from sweeps.recipes import smoke
from sweeps.stability import extra

pytestmark = pytest.mark.long
# The fewest rungs that a law can be fitted to: all is registered that a larger ladder would register.
SWEEP = smoke(smallest="3e7 FLOP", rungs=3, seeds=((0, 1, 0),), problems=64, rl_steps=4, factor=4.0, stability=1)
LADDER = [*SWEEP.trials, *extra(SWEEP)]
HINT = "run the same command again to go on"


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("recipe") / "small ü.toml"
    path.write_text(configs.dump(SWEEP, {}))
    return str(path)


def started(folder: Path, recipe: str, **at: str | int) -> subprocess.Popen[str]:
    command = demo(folder, recipe, **at)
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    said = process.communicate(timeout=120)[1]
    assert process.returncode == code and "Traceback" not in said, said
    return said


def kill_when(process: subprocess.Popen[str], there) -> None:
    """SIGKILL for the runner and its workers as soon as the folder shows what is waited for."""
    while not there() and process.poll() is None:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    for victim in (process.pid, *children(process.pid)):
        os.kill(victim, signal.SIGKILL)
    finish(process, -9)


@pytest.fixture(scope="module")
def survivor(recipe, tmp_path_factory) -> tuple[Path, Path]:
    """A folder that was killed in every phase and brought to its end, and one that ran through from registration on."""
    folder = tmp_path_factory.mktemp("a folder") / "with spaces"
    twin = folder.with_name("twin")

    def results() -> int:
        return len(list(folder.glob("runs/*/result.json")))

    kill_when(started(folder, recipe), lambda: results() >= 2)
    finish(started(folder, recipe, part="blobs", count=2), -9)
    finish(started(folder, recipe, part="entries.jsonl", count=1), -9)  # the prediction's line stands, not yet synced
    assert kinds(folder) == ["prediction"]
    shutil.copytree(folder, twin)
    kill_when(started(folder, recipe), lambda: len(list(folder.glob("runs/*/steps.jsonl"))) > len(LADDER))
    assert kinds(folder) == ["prediction", "start"]
    other = started(twin, recipe)
    finish(started(folder, recipe, part=".report.", count=2), -9)
    assert kinds(folder) == ["prediction", "start", "outcome"]
    finish(other)
    finish(started(folder, recipe))
    return folder, twin


def test_kills_in_every_phase_change_no_digit(survivor, recipe, tmp_path):
    folder, twin = survivor
    assert kinds(folder) == kinds(twin) == ["prediction", "start", "outcome"]
    assert numbers(folder) == numbers(twin)
    assert len(numbers(folder)) == len(LADDER) + 2
    assert Ledger(folder / "ledger").verify().ok
    mine, theirs = (standing.records(Ledger(f / "ledger"))[0] for f in survivor)
    assert mine.resolution.values == theirs.resolution.values
    assert list(mine.prediction.gates) == read_gates(folder) and len(mine.prediction.gates) == 4
    assert mine.prediction.provenance["data"]["gates.json"] == file_digest(folder / "gates.json")
    assert all(text in (folder / "report.json").read_text() for text in ("core-hours of checks", "as registered"))
    fresh = tmp_path / "fresh"
    from sweeps import run

    run(LADDER, fresh, slots=1, progress=False)
    ladder = numbers(fresh)
    assert ladder == {name: row for name, row in numbers(folder).items() if name in ladder}
    assert len(ladder) == len(LADDER)


def unresolved(folder: Path, path: Path) -> Path:
    """A copy without outcome, heads and reports: registered, started and trained."""
    shutil.copytree(folder, path)
    lines = (path / "ledger" / "entries.jsonl").read_bytes().splitlines(keepends=True)
    (path / "ledger" / "entries.jsonl").write_bytes(b"".join(lines[:2]))
    for old in (path / "ledger" / "heads.jsonl", *path.glob("report.*")):
        old.unlink()
    return path


def test_two_jobs_on_one_folder_enter_everything_once(survivor, recipe, tmp_path):
    folder = unresolved(survivor[0], tmp_path / "shared")
    (folder / "ledger" / "entries.jsonl").unlink()
    for spec in binding.target_trials(next(iter(Ledger(survivor[0] / "ledger")))):
        shutil.rmtree(folder / "runs" / spec.id)
    for process in [started(folder, recipe) for _ in range(2)]:
        finish(process)
    assert kinds(folder) == ["prediction", "start", "outcome"]
    assert {len((p / "attempts.jsonl").read_bytes().splitlines()) for p in targets(folder)} == {1}
    assert Ledger(folder / "ledger").verify().ok


def targets(folder: Path) -> list[Path]:
    return [folder / "runs" / s.id for s in binding.target_trials(next(iter(Ledger(folder / "ledger"))))]


def test_a_second_outcome_is_refused_even_by_one_who_read_the_ledger_before(survivor, tmp_path, monkeypatch):
    folder = unresolved(survivor[0], tmp_path / "raced")
    ledger = Ledger(folder / "ledger")
    before = standing.records(ledger)[0]
    first = book.resolve_from_runs(ledger, before.entry, folder / "runs")
    monkeypatch.setattr(book, "find", lambda *_: before)
    assert book.resolve_from_runs(ledger, before.entry, folder / "runs").hash == first.hash
    with pytest.raises(InputError, match="other content"):
        book.resolve_from_runs(ledger, before.entry, folder / "runs", note="another")
    assert kinds(folder) == ["prediction", "start", "outcome"]


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_no_failing_call_leaves_half_an_entry_or_a_second_one(survivor, tmp_path, monkeypatch, call):
    folder, real = unresolved(survivor[0], tmp_path / "full"), getattr(os, call)
    ledger, runs = Ledger(folder / "ledger"), folder / "runs"
    entry = next(iter(ledger))
    for k in range(1, 100):
        left = [k]

        def failing(*arguments, left=left):
            left[0] -= 1
            if left[0] == 0:
                raise OSError(28, "No space left on device")
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, failing)
            failed = pytest.raises(InputError, match="No space left")
            with contextlib.suppress(pytest.fail.Exception), failed:  # beyond the last call nothing fails
                ledger.put_blob(b"%s %d" % (call.encode(), k), "bin")
                if len(kinds(folder)) < 3:
                    book.resolve_from_runs(ledger, entry, runs)
                ledger.remember()
        assert ledger.verify().ok
        if left[0] > 0:
            break
    book.resolve_from_runs(ledger, entry, runs) if len(kinds(folder)) < 3 else None
    assert kinds(folder) == ["prediction", "start", "outcome"]
    assert left[0] > 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stop_between_the_trials_is_clean_too(survivor, recipe, tmp_path, number, code):
    folder = unresolved(survivor[0], tmp_path / "stopped")
    process = started(folder, recipe)
    while "back-test" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(number)
    assert HINT in finish(process, code)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_left_ends_the_job_with_141(survivor, recipe, stream):
    reading, writing = os.pipe()
    os.close(reading)
    streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: writing}
    assert subprocess.run(demo(survivor[0], recipe), **streams).returncode == 141
    os.close(writing)


def test_closed_streams_and_no_home_do_no_harm(survivor, recipe):
    command = ["sh", "-c", 'exec "$@" >&- 2>&- <&-', "sh", *demo(survivor[0], recipe)]
    assert subprocess.run(command, env={"PATH": os.environ["PATH"]}).returncode == 0
    assert Ledger(survivor[0] / "ledger").verify().ok


def test_a_target_that_is_not_the_sweeps_own_is_refused(survivor, recipe, tmp_path):
    folder = unresolved(survivor[0], tmp_path / "edited")
    (folder / "target.json").write_bytes((folder / "target.json").read_bytes().replace(b'"steps":', b'"steps":1'))
    assert "not this sweep's target" in finish(started(folder, recipe), 1)
