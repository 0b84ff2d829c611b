"""RL runs, each foretold to its own end from its beginning, beside what came.

A ladder forecasts a run before it starts. This section asks how far the run itself, once it has started, gives its end
away: the target's runs, then those of the largest rungs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from reports import figures
from reports.blocks import Block, Figure, Heading, Panel, Table, Text
from reports.inputs import ReportInput, RunLook
from reports.text import compute, counted, number, whole
from scaling.compute import inputs_of
from scaling.errors import InputError
from scaling.fitted import LEVELS, FitStatus
from scaling.trajectories import Trajectory
from scaling.trials import TrialState
from sweeps.store import Trial

SHARES = (0.1, 0.25, 0.5)  # of the run's steps, known when its end is foretold
SHOWN = 0.25
MOST = 4  # runs
ENOUGH = 40  # rows of a log: of fewer, a tenth is nothing
GRID = 60
SIZE = (3.4, 2.1)  # inches, two in a row
HEADERS = (
    "run", "known", "end foretold, 90 %", "measured", "inside", "gain to come, 90 %", "asymptote, 90 %", "its status",
    "run's status",
)  # fmt: skip


def run_looks(folder: Path, ladder: Sequence[Trial], large: Sequence[Trial]) -> tuple[RunLook, ...]:
    """The target's RL trials and the largest rungs', MOST in all. Trials whose logs cannot be used are left out."""
    found = (_look(folder / "runs" / trial.id, trial) for trial in _largest_first(ladder, large))
    looks: list[RunLook] = []
    for look in found:
        looks += [look] if look else []
        if len(looks) == MOST:
            break
    return tuple(looks)


def _largest_first(ladder: Sequence[Trial], large: Sequence[Trial]) -> Iterator[Trial]:
    for trials in (large, ladder):
        done = [t for t in trials if t.spec.stage == "rl" and t.state == TrialState.COMPLETE]
        yield from sorted(done, key=lambda t: (-inputs_of(t.spec)["C_pre"], t.id))


def _look(place: Path, trial: Trial) -> RunLook | None:
    import fits

    try:
        run, size = fits.trajectory(place), inputs_of(trial.spec)["C_pre"]
        return look_at(f"{compute(size)}, {trial.id[:8]}", run) if len(run) >= ENOUGH else None
    except InputError:
        return None


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
    rows = [_row(look, share) for look in looks for share in look.forecasts]
    inside = sum(f.final.covers(look.run.ending, 0.9) for look in looks for f in look.forecasts.values())
    lead = (
        f"How far a run gives its own end away once it has started: {counted(len(looks), 'RL run')}, foretold from the "
        f"first {', '.join(f'{100 * s:.0f}' for s in SHARES)} % of its steps without looking at the rest. "
        f"{inside} of {len(rows)} ends lie inside 90 % intervals."
    )
    return [Heading("RL runs, foretold from their beginning", "rl-runs"), Text(lead), _figure(looks), _table(rows)]


def _row(look: RunLook, share: float) -> tuple[str, ...]:
    f = look.forecasts[share]
    covered = f.final.covers(look.run.ending, 0.9)
    status = "" if f.status == FitStatus.CONVERGED else str(f.status)
    return (
        look.name, f"{100 * share:.0f} %", str(f.final), number(look.run.ending), "yes" if covered else "NO",
        str(f.gain), str(f.asymptote), str(f.asymptote_status), status,
    )  # fmt: skip


def _table(rows: Sequence[tuple[str, ...]]) -> Table:
    caption = (
        "The end is the mean reward of the last twentieth of the run's rows. NOT_IDENTIFIED: the run does not tell "
        "its asymptote; the estimate rests on what runs usually do."
    )
    tones = tuple("bad" if row[4] == "NO" else "" for row in rows)
    return Table.of(HEADERS, rows, tones=tones, caption=caption)


def _figure(looks: Sequence[RunLook]) -> Figure:
    panels = [_panel(f"rl-run-{i}", look) for i, look in enumerate(looks)]
    caption = (
        f"Reward of each step (points; hollow: not known to the forecast), and its level as foretold from the first "
        f"{100 * SHOWN:.0f} %: median with 50, 80 and 95 % bands."
    )
    rows = [
        (look.name, float(x), *(float(q) for q in (low, middle, high)))
        for look in looks
        for x, low, middle, high in zip(look.x_G, *_interval(look), strict=True)
    ]
    headers = ("run", looks[0].run.axis, "5 %", "median", "95 %")
    return Figure.of("rl-runs-figure", panels, caption, headers, rows, columns=2)


def _interval(look: RunLook) -> tuple[np.ndarray, ...]:
    return tuple(look.level(q) for q in (0.05, 0.5, 0.95))


def _panel(prefix: str, look: RunLook) -> Panel:
    f = look.forecasts[SHOWN]
    alt = (
        f"Reward of {look.name} over {whole(look.run.last)} steps. From the first {100 * SHOWN:.0f} % its end was "
        f"foretold as {f.final}; it came to {number(look.run.ending)}."
    )
    return figures.panel(prefix, *SIZE, alt, lambda ax: figures.run_fan(look, SHOWN, ax))
