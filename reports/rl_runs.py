"""RL runs, each foretold to its own end from its beginning, beside what came.

A ladder forecasts a run before it starts. This section asks how far the run itself, once it has started, gives its end
away: the target's runs, then those of the largest rungs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from reports import figures
from reports.blocks import Block, Figure, Heading, Panel, Table, Text
from reports.inputs import ReportInput, RunLook, RunScore
from reports.rl_scores import SHARES, score_blocks, scores_of_looks, stored
from reports.run_names import named
from reports.text import counted, listed, number, whole
from scaling.compute import inputs_of
from scaling.errors import InputError
from scaling.fitted import LEVELS, FitStatus
from scaling.trajectories import RunForecast, Trajectory
from scaling.trials import TrialState
from sweeps.store import Trial

SHOWN = 0.25
MOST = 4  # runs drawn
ENOUGH = 40  # rows of a log: of fewer, a tenth is nothing
GRID = 60
LISTED = 5  # every so many columns of the grid stand in the figure's table
SIZE = (3.4, 2.0)  # inches, two in a row


def usable_runs(folder: Path, ladder: Sequence[Trial], large: Sequence[Trial]) -> dict[str, Trajectory]:
    """The trajectories of complete RL trials by trial id, the target's first, then the largest rungs'. Trials whose
    logs cannot be used are left out."""
    found = {}
    for trials in (large, ladder):
        done = [t for t in trials if t.spec.stage == "rl" and t.state == TrialState.COMPLETE]
        for trial in sorted(done, key=lambda t: (-inputs_of(t.spec)["C_pre"], t.spec.base.seed)):
            run = _trajectory(folder / "runs" / trial.id)
            if run is not None and len(run) >= ENOUGH:
                found[trial.id] = run
    return found


def _trajectory(place: Path) -> Trajectory | None:
    import fits

    try:
        return fits.trajectory(place)
    except InputError:
        return None


def run_looks(runs: Mapping[str, Trajectory], names: Mapping[str, str]) -> tuple[RunLook, ...]:
    """The first MOST of the runs, by the names that a reader knows."""
    return tuple(look_at(named(names, trial), run) for trial, run in list(runs.items())[:MOST])


def run_scores(folder: Path, runs: Mapping[str, Trajectory], looks: Sequence[RunLook]) -> list[RunScore]:
    """As the main job stored them; else of the runs that are drawn."""
    known = [s for s in stored(folder) if s.trial in runs]
    return known or scores_of_looks(looks)


def look_at(name: str, run: Trajectory) -> RunLook:
    """Foretell the run's end from each share of it."""
    import fits

    averages = {share: fits.rl_average(run.until(share * run.last)) for share in SHARES}
    x_G = np.linspace(SHOWN * run.last, run.last, GRID)
    levels_SG = averages[SHOWN].draws(x_G)["level"]
    forecasts = {share: average.forecast(run.last) for share, average in averages.items()}
    return RunLook(name, run, forecasts, x_G, np.quantile(levels_SG, LEVELS, axis=0))


def rl_run_blocks(report: ReportInput) -> list[Block]:
    looks = report.rl_runs
    if not looks:
        return []
    inside = sum(f.final.covers(look.run.ending, 0.9) for look in looks for f in look.forecasts.values())
    asked = sum(len(look.forecasts) for look in looks)
    lead = (
        f"How far a run gives its own end away once it has started: {counted(len(looks), 'RL run')}, foretold from the "
        f"first {listed(f'{100 * s:.0f}' for s in SHARES)} % of its steps without looking at the rest. "
        f"{inside} of {asked} ends lie inside 90 % intervals."
    )
    blocks: list[Block] = [Heading("RL runs, foretold from their beginning", "rl-runs"), Text(lead), _figure(looks)]
    return [*blocks, _table(looks), *score_blocks(report.rl_scores)]


def _table(looks: Sequence[RunLook]) -> Table:
    rows = [_row(look, share) for look in looks for share in look.forecasts]
    remarks = any(row[-1] for row in rows)
    headers = ["run", "known", "end foretold, 90 %", "measured", "inside 90 %", "asymptote, 90 %", "remark"]
    caption = (
        "The end is the mean reward of the last twentieth of the run's rows. Not identified: what is known of the run "
        "does not tell its asymptote; the estimate rests on what runs usually do."
    )
    tones = tuple("bad" if row[4] == "NO" else "" for row in rows)
    kept = len(headers) if remarks else len(headers) - 1
    return Table.of(headers[:kept], [row[:kept] for row in rows], tones=tones, caption=caption)


def _row(look: RunLook, share: float) -> tuple[str, ...]:
    f = look.forecasts[share]
    covered = "yes" if f.final.covers(look.run.ending, 0.9) else "NO"
    remark = "" if f.status == FitStatus.CONVERGED else str(f.status)
    return look.name, whole(share), str(f.final), number(look.run.ending), covered, _asymptote(f), remark


def _asymptote(f: RunForecast) -> str:
    return f"{f.asymptote}{'' if f.asymptote_status == FitStatus.CONVERGED else ', not identified'}"


def _figure(looks: Sequence[RunLook]) -> Figure:
    panels = [_panel(f"rl-run-{i}", look) for i, look in enumerate(looks)]
    caption = (
        f"Reward of each step (dots; hollow: not known to the forecast), and its level as foretold from the first "
        f"{100 * SHOWN:.0f} %: median with 50, 80 and 95 % bands. Bar at the end: what came."
    )
    rows = [
        (look.name, float(x), *(float(q) for q in (low, middle, high)))
        for look in looks
        for x, low, middle, high in list(zip(look.x_G, *_interval(look), strict=True))[::-LISTED][::-1]
    ]
    headers = ("run", looks[0].run.axis, "5 %", "median", "95 %")
    return Figure.of("rl-runs-figure", panels, caption, headers, rows, columns=2)


def _interval(look: RunLook) -> tuple[np.ndarray, ...]:
    return tuple(look.level(q) for q in (0.05, 0.5, 0.95))


def _panel(prefix: str, look: RunLook) -> Panel:
    f = look.forecasts[SHOWN]
    alt = (
        f"Reward of {look.name} over {look.run.last:.0f} steps. From the first {100 * SHOWN:.0f} % its end was "
        f"foretold as {f.final}; it came to {number(look.run.ending)}."
    )
    return figures.panel(prefix, *SIZE, alt, lambda ax: figures.run_fan(look, SHOWN, ax))
