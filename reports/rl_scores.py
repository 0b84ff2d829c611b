"""How well ends of a project's own RL runs were foretold from their beginnings: the average, and simpler means.

Scoring a run takes about a second of processor time, so the main job does it once and keeps the forecasts in the
folder (rl_scores.json); a report reads them, or scores only the runs that it draws.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from reports.blocks import Block, Heading, Table, Text
from reports.inputs import RunLook, RunScore
from reports.text import counted, listed, significant, whole
from scaling.errors import InputError
from scaling.provenance import code
from scaling.records import canonical, parse, write_atomic
from scaling.trajectories import Quantity, Trajectory

SHARES = (0.1, 0.25, 0.5)  # of the run's steps, known when its end is foretold
AVERAGE = "average"
STORED = "rl_scores.json"
LEVEL = 0.9


def score_runs(folder: Path, runs: Mapping[str, Trajectory]) -> list[RunScore]:
    """Forecast the end of every run (by trial id) from each share of it; those in the store are not made again."""
    import fits
    from fits.rl_rivals import rivals

    known = stored(folder)
    done = {s.trial for s in known}
    for trial, run in runs.items():
        for share in SHARES if trial not in done else ():
            seen = run.until(share * run.last)
            made = {AVERAGE: fits.rl_average(seen).forecast(run.last).final, **rivals(seen, run.last)}
            known += [RunScore(trial, share, method, run.ending, _rounded(q)) for method, q in made.items()]
    rows = [{"trial": s.trial, "share": s.share, "method": s.method, "end": s.end, "quantiles": s.foretold.quantiles}
            for s in known]  # fmt: skip
    write_atomic(folder / STORED, canonical({"v": 1, "code": code(), "rows": rows}) + b"\n")
    return known


def _rounded(q: Quantity) -> Quantity:
    return Quantity(tuple(float(f"{x:.6g}") for x in q.quantiles))


def stored(folder: Path) -> list[RunScore]:
    """What the folder holds; nothing where it holds none. InputError where the file is not one of ours."""
    path = folder / STORED
    if not path.exists():
        return []
    try:
        rows = parse(path.read_bytes(), what=str(path))["rows"]
        return [RunScore(str(r["trial"]), float(r["share"]), str(r["method"]), float(r["end"]),
                         Quantity(tuple(map(float, r["quantiles"])))) for r in rows]  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} cannot be used: {error}", "remove it: the main job makes it again") from None


def scores_of_looks(looks: Iterable[RunLook]) -> list[RunScore]:
    """Of the runs that are drawn: the average is known, the rivals are added."""
    from fits.rl_rivals import rivals

    found = []
    for look in looks:
        for share, forecast in look.forecasts.items():
            made = {AVERAGE: forecast.final, **rivals(look.run.until(share * look.run.last), look.run.last)}
            found += [RunScore(look.name, share, method, look.run.ending, q) for method, q in made.items()]
    return found


def score_blocks(scores: Sequence[RunScore]) -> list[Block]:
    """One sentence on where the average won and lost, then coverage, width and CRPS by share and method."""
    if not scores:
        return []
    shares = sorted({s.share for s in scores})
    methods = list(dict.fromkeys(s.method for s in scores))
    rows, tones = [], []
    for share in shares:
        crps = {m: _crps(scores, share, m) for m in methods}
        for method in methods:
            some = _some(scores, share, method)
            inside = sum(s.foretold.covers(s.end, LEVEL) for s in some)
            width = significant(float(np.median([np.ptp(s.foretold.interval(LEVEL)) for s in some])))
            rows.append([whole(share), method, f"{inside} of {len(some)}", width, significant(crps[method])])
            tones.append("good" if crps[method] == min(crps.values()) else "")
    headers = ["known", "foretold by", f"inside {whole(LEVEL)}", f"median width of {whole(LEVEL)}", "mean CRPS"]
    caption = ("Rewards are fractions; CRPS in the same unit, lower is better; marked: the lowest of its share. Last "
               "value: the mean of the last fifth of what is known.")  # fmt: skip
    runs = len({s.trial for s in scores})
    return [
        Heading("Against simpler means, on the same runs", "rl-scores", 3),
        Text(f"{counted(runs, 'run')}. {' '.join(_verdicts(scores, shares, methods))}"),
        Table.of(headers, rows, tones=tones, caption=caption),
    ]


def _verdicts(scores: Sequence[RunScore], shares: Sequence[float], methods: Sequence[str]) -> list[str]:
    """'Against the last value the average has the lower CRPS at 10 % and 25 % and loses at 50 % known.'"""
    said = []
    for rival in (m for m in methods if m != AVERAGE):
        pairs = {share: (_crps(scores, share, AVERAGE), _crps(scores, share, rival)) for share in shares}
        won = [whole(share) for share, (ours, other) in pairs.items() if ours < other]
        lost = [
            f"{whole(share)} (CRPS {significant(ours, 3)} to {significant(other, 3)})"
            for share, (ours, other) in pairs.items()
            if ours >= other
        ]
        parts = [f"has the lower CRPS at {listed(won)}"] * bool(won) + [f"loses at {listed(lost)}"] * bool(lost)
        said.append(f"Against {rival} the average {' and '.join(parts)} known.")
    return said


def _some(scores: Sequence[RunScore], share: float, method: str) -> list[RunScore]:
    return [s for s in scores if (s.share, s.method) == (share, method)]


def _crps(scores: Sequence[RunScore], share: float, method: str) -> float:
    return float(np.mean([s.foretold.crps(s.end) for s in _some(scores, share, method)]))
