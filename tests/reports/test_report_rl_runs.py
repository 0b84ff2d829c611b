"""The section on RL runs: each foretold to its own end, and the end that came beside it."""

from __future__ import annotations

import numpy as np
import pytest

from reports import forecast_document
from reports.blocks import Figure, Table, Text
from reports.inputs import ReportInput, RunLook
from reports.rl_runs import SHARES, look_at
from scaling.trajectories import Trajectory


def run_that(ends: float, seed: int = 0) -> Trajectory:
    """A reward that saturates at .7 over the first half of 200 steps, and then goes to `ends`."""
    x = np.arange(1.0, 201.0)
    level = 0.2 + 0.5 * (1 - np.exp(-x / 30))
    level[100:] = np.linspace(level[99], ends, 100)
    noise = 0.02 * np.random.default_rng(seed).standard_normal(200)
    return Trajectory(x, np.clip(level + noise, 0, 1), planned=200.0)


@pytest.fixture(scope="module")
def looks() -> list[RunLook]:
    return [look_at("as foretold", run_that(0.7)), look_at("collapsed", run_that(0.05))]


def test_every_run_and_share_has_a_row_and_misses_are_seen(looks: list[RunLook]) -> None:
    blocks = forecast_document(ReportInput("t", rl_runs=looks)).blocks
    table = next(b for b in blocks if isinstance(b, Table) and "known" in b.headers)
    assert [row[:2] for row in table.rows] == [(look.name, f"{100 * s:.0f} %") for look in looks for s in SHARES]
    inside = [row[table.headers.index("inside")] for row in table.rows]
    assert inside[:3] == ["yes"] * 3 and inside[5] == "NO"  # half of the run seen, then it falls
    assert [tone == "bad" for tone in table.tones] == [word == "NO" for word in inside]
    assert any(isinstance(b, Text) and f"{inside.count('yes')} of 6 ends" in b.text for b in blocks)


def test_the_figure_draws_what_its_table_says(looks: list[RunLook]) -> None:
    blocks = forecast_document(ReportInput("t", rl_runs=looks)).blocks
    figure = next(b for b in blocks if isinstance(b, Figure) and b.anchor == "rl-runs-figure")
    assert len(figure.panels) == 2
    assert all(look.name in panel.alt for look, panel in zip(looks, figure.panels, strict=True))
    low, middle, high = (looks[0].level(q) for q in (0.05, 0.5, 0.95))
    assert np.all(low <= middle) and np.all(middle <= high)
    assert looks[0].x_G[0] == 50 and looks[0].x_G[-1] == 200
    assert low[-1] < 0.7 < high[-1]


def test_no_runs_no_section() -> None:
    blocks = forecast_document(ReportInput("t")).blocks
    assert not any(isinstance(b, Figure) for b in blocks)
