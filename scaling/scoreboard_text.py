"""The scoreboard in words and as JSON."""

from __future__ import annotations

import math
from typing import Any

from scaling.cli import lines, table
from scaling.scoreboard import BINS, SAYS, Calibration, Comparison, Group, MetricScores, Row, Scoreboard, Turned


def board_text(board: Scoreboard) -> str:
    """The scoreboard for a terminal."""
    counts = ", ".join(f"{count} {state}" for state, count in board.counts.items())
    total = len(board.rows)
    resolved = sum(bool(row.turned) for row in board.rows)
    blocks = [f"{resolved} of {total} predictions resolved ({counts or 'there is none'}; {board.today})"]
    rows = [[r.seq, r.hash[:12], r.title, r.until, r.state, _claims(r), r.hits] for r in board.rows]
    if rows:
        heads = ["entry", "hash", "prediction", "until", "state", "claims + unearned", "in 90 %"]
        blocks.append(table(heads, rows))
        blocks += [lines(f"{r.hash[:12]}: {remark}" for r in board.rows for remark in r.remarks) or "no remarks"]
    return "\n\n".join([*blocks, *map(_group_text, board.groups)])


def _claims(row: Row) -> str:
    return "?" if row.claims is None or row.unearned is None else f"{row.claims - row.unearned} + {row.unearned}"


def board_json(board: Scoreboard) -> dict[str, Any]:
    """Everything that the text shows, with the scores of every claim. An infinite log score is null."""
    return {
        "today": board.today,
        "counts": board.counts,
        "predictions": [
            {**{k: v for k, v in vars(row).items() if k != "turned"}, "scores": [_turned(t) for t in row.turned]}
            for row in board.rows
        ],
        "groups": board.groups,
    }


def _turned(t: Turned) -> dict[str, Any]:
    score = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in vars(t.score).items()}
    return {**score, "metric": t.metric, "grade": t.claim.grade, "group": t.group, "n": t.n, "se": t.se,
            "bound": t.bound}  # fmt: skip


def _group_text(group: Group) -> str:
    unbound = f", {group.unbound} of runs whose seeds do not derive from the entry" if group.unbound else ""
    lines = [
        f"{group.name.upper()}: {SAYS[group.name]}",
        f"{_count(group.claims, 'claim')} of {_count(group.runs, 'run')}{unbound}. Errors: binomial over "
        "claims; in brackets by run (claims of one run are not independent)",
        table(["interval", "inside", "rate", "expected"], [_calibrated(c) for c in group.calibration]),
        "PIT (flat if calibrated: "
        f"{group.claims / BINS:.1f} ± {math.sqrt(group.claims * (BINS - 1)) / BINS:.1f} a bin)",
        *(_bar(i, count, max(group.pit)) for i, count in enumerate(group.pit)),
        table(["metric", "score", "mean"], [row for m in group.scores for row in _means(m)]),
    ]
    against = [row for m in group.scores for c in m.against for row in _against(m, c)]
    if against:
        lines += ["baseline's score minus the forecast's, paired (positive: the forecast was better)",
                  table(["metric", "baseline", "score", "difference", "better"], against)]  # fmt: skip
    return "\n".join(lines)


def _calibrated(c: Calibration) -> list[Any]:
    by_run = f" (± {100 * c.by_run.se:.0f} by run)" if c.by_run.se is not None else " (one run)"
    rate = f"{100 * c.rate:.0f} %{by_run}"
    return [f"{100 * c.level:.0f} %", f"{c.hits} of {c.n}", rate, f"{100 * c.level:.0f} ± {100 * c.error:.0f} %"]


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _bar(index: int, count: int, most: int) -> str:
    width = math.ceil(30 * count / max(most, 1))
    return f"  {index / BINS:.1f} - {(index + 1) / BINS:.1f}  {'#' * width}{' ' if width else ''}{count}"


def _means(m: MetricScores) -> list[list[Any]]:
    unit = f" {m.unit}" if m.unit else ""
    rows = [[m.metric, "CRPS", f"{m.crps}{unit}"], [m.metric, "weighted interval", f"{m.wis}{unit}"]]
    beyond = f", and {m.no_density} infinite" if m.no_density else ""
    return [*rows, [m.metric, "log", f"{m.log_score} nats{beyond}" if m.log_score else f"{m.no_density} infinite"]]


def _against(m: MetricScores, c: Comparison) -> list[list[Any]]:
    unit = f" {m.unit}" if m.unit else ""
    better = f"{c.better} of {c.crps.n}"
    return [[m.metric, c.baseline, "CRPS", f"{c.crps}{unit}", better],
            [m.metric, c.baseline, "weighted interval", f"{c.wis}{unit}", ""]]  # fmt: skip
