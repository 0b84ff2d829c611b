"""The law of the house: no import climbs a floor, and only sweeps knows torch."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout


def test_import_layers_hold():
    done = subprocess.run([Path(sys.executable).parent / "lint-imports"], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    "module",
    [
        "scaling",
        "scaling.__main__",
        "fits",
        "reports",
        "sweeps",
        "fits.verbs",
        "reports.verbs",
        "sweeps.verbs",
        "scaling.verbs",
    ],
)
def test_importing_a_room_loads_no_heavy_library(module):
    heavy = {"torch", "transformers", "peft", "sympy", "matplotlib"}
    assert run(f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))").strip() == "[]"


def test_every_public_name_exists():
    code = """
import scaling, fits, sweeps, reports
for room in (scaling, fits, sweeps, reports):
    for name in room.__all__:
        getattr(room, name)
"""
    run(code)


def test_fit_forecast_and_verify_never_import_torch(tmp_path):
    points = tmp_path / "points.csv"
    points.write_text("C,loss\n" + "\n".join(f"1e{e},{1.7 + 2 * 10 ** (-0.1 * (e - 18))}" for e in range(18, 24)))
    code = f"""
import sys
from scaling.__main__ import main
assert main(["fit", {str(points)!r}]) == 0
assert main(["forecast", {str(points)!r}, "--at", "1e24 FLOP", "--beyond"]) == 0
assert "torch" not in sys.modules
"""
    run(code)
