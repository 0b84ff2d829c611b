"""The section on RL runs: each foretold to its own end, and the end that came beside it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from report_example import example

from reports import forecast_document
from reports.blocks import Figure, Heading, Table, Text
from reports.inputs import ReportInput, RunLook, RunScore
from reports.rl_runs import SHARES, look_at
from reports.rl_scores import STORED, score_runs, scores_of_looks, stored
from reports.run_names import run_names
from reports.text import compute
from scaling.compute import inputs_of
from scaling.errors import InputError
from scaling.fitted import LEVELS
from scaling.trajectories import Quantity, Trajectory
from scaling.trials import TrialState
from sweeps.configs import read
from sweeps.recipes import Sweep
from sweeps.store import Trial


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
    inside = [row[table.headers.index("inside 90 %")] for row in table.rows]
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


# -- scores ------------------------------------------------------------------------------------------------------


def certain(trial: str, method: str, value: float, end: float, share: float = 0.5) -> RunScore:
    """A forecast of one number: its CRPS is its error."""
    return RunScore(trial, share, method, end, Quantity((value,) * len(LEVELS)))


def scored(looks: list[RunLook], scores: list[RunScore]) -> tuple[str, Table]:
    blocks = forecast_document(ReportInput("t", rl_runs=looks, rl_scores=scores)).blocks
    at = next(i for i, b in enumerate(blocks) if isinstance(b, Heading) and b.anchor == "rl-scores")
    text, table = blocks[at + 1], blocks[at + 2]
    assert isinstance(text, Text) and isinstance(table, Table)
    return text.text, table


def test_where_the_average_lost_is_said(looks: list[RunLook]) -> None:
    scores = [
        certain(t, method, value, 0.5, share)
        for t in ("a", "b")
        for share, ours, theirs in ((0.1, 0.6, 0.8), (0.5, 0.6, 0.51))
        for method, value in (("average", ours), ("last value", theirs))
    ]
    text, table = scored(looks, scores)
    won, lost = "has the lower CRPS at 10 %", "loses at 50 % (CRPS 0.100 to 0.0100)"
    assert text == f"2 runs. Against last value the average {won} and {lost} known."
    assert [row[-1] for row in table.rows] == ["0.10", "0.30", "0.10", "0.010"]
    assert table.tones == ("good", "", "", "good")
    assert {row[2] for row in table.rows} == {"0 of 2"}


def test_the_runs_that_are_drawn_are_scored_by_the_forecasts_that_are_drawn(looks: list[RunLook]) -> None:
    found = scores_of_looks(looks[:1])
    assert len(found) == 3 * len(SHARES)
    ours = {s.share: s.foretold for s in found if s.method == "average"}
    assert ours == {share: f.final for share, f in looks[0].forecasts.items()}
    known = looks[0].run.until(100)
    last = next(s.foretold for s in found if (s.method, s.share) == ("last value", 0.5))
    assert last.median == pytest.approx(known.y_n[-20:].mean())


def test_scores_are_kept_and_not_made_again(tmp_path: Path) -> None:
    run = run_that(0.7)
    made = score_runs(tmp_path, {"one": run})
    kept = (tmp_path / STORED).read_bytes()
    assert stored(tmp_path) == made and len(made) == 3 * len(SHARES)
    assert score_runs(tmp_path, {"one": run_that(0.1)}) == made  # by trial: a complete trial does not change
    assert (tmp_path / STORED).read_bytes() == kept
    (tmp_path / STORED).write_text('{"rows": [{"trial": "one"}]}')
    with pytest.raises(InputError, match="cannot be used"):
        stored(tmp_path)


# -- names -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    return read("smoke")


def test_runs_are_called_by_rung_and_seed(sweep: Sweep) -> None:
    trials = [Trial(spec, TrialState.COMPLETE, Path()) for spec in sweep.trials]
    base, rl = sweep.target
    base = replace(base, seed=77)
    large = [Trial(spec, TrialState.COMPLETE, Path()) for spec in (base, replace(rl, parent=base, seed=5))]
    names = run_names(trials, large)
    assert set(names) == {t.id for t in (*trials, *large)}
    assert [names[t.id] for t in large] == ["target, seed 1"] * 2
    for rl in (t for t in trials if t.spec.stage == "rl"):
        assert rl.spec.parent and names[rl.id] == names[rl.spec.parent.id]
    per_stage = [(t.spec.stage, names[t.id]) for t in trials]
    assert len(set(per_stage)) == len(per_stage)
    first = min(trials, key=lambda t: inputs_of(t.spec)["C_pre"])
    assert names[first.id].startswith(f"{compute(inputs_of(first.spec)['C_pre'])}, seed ")
    again = run_names(trials[::-1], large)
    assert again == names  # not by the order in which they were found


def test_two_runs_of_one_name_are_told_apart(sweep: Sweep) -> None:
    spec = next(s for s in sweep.trials if s.stage == "rl")
    trials = [Trial(s, TrialState.COMPLETE, Path()) for s in (spec, replace(spec, steps=spec.steps + 1))]
    names = run_names(trials, [])
    assert len(set(names.values())) == 2


def test_digests_stand_in_the_table_of_runs_only() -> None:
    report = example(first=2)
    names = {t["id"]: f"rung, seed {i}" for i, t in enumerate(report.trials)}
    document = forecast_document(replace(report, run_names=names))
    at = next(i for i, b in enumerate(document.blocks) if isinstance(b, Heading) and b.anchor == "runs")
    table = next(b for b in document.blocks[at:] if isinstance(b, Table))
    assert {row[0] for row in table.rows} == set(names.values())
    assert all(row[table.headers.index("trial")].startswith("rung") for row in table.rows)
    points = [t for f in document.find(Figure) for p in f.panels for texts in p.points.values() for t in texts]
    runs = [t for t in points if "ahead" not in t]  # back-tests speak of a law, not of a run
    assert runs and all(t.startswith("rung, seed ") for t in runs)
