"""The first page's table: how sure, at what cost, said before or not, and how it turned out. One row each."""

from __future__ import annotations

from collections.abc import Callable

from reports.blocks import Block, Table
from reports.inputs import ReportInput
from reports.text import MISSING, compute, counted, listed, missing, moment, number, percent, times
from scaling.fitted import Grade
from scaling.predictions import NOT_STARTED

SAYS = {
    Grade.EARNED: "within the factor at which back-tests held",
    Grade.EXTENDED: "further than back-tests reached",
    Grade.REFUSED: "the data speak against it",
    Grade.UNEARNED: "refused, and kept with its estimate to see how it turns out",
}


def glance_blocks(report: ReportInput) -> list[Block]:
    """Nothing without a claim."""
    if not report.claims:
        return []
    rows = [("how far", _distance(report)), ("how sure", _grades(report)), ("cost", _cost(report))]
    rows += [("said before the run?", _said_before(report))]
    return [Table.of(["question", "answer"], rows, wide=[1])]


def _distance(report: ReportInput) -> str:
    """'3.6e13 FLOP, 300x beyond the data; back-tests reached 3.9x.'"""
    places = dict.fromkeys((c.target, c.factor) for c in report.claims)
    ahead = listed(f"{compute(at)}, {times(factor)} beyond the largest run fitted" for at, factor in places)
    tested = [c.earned_factor for c in report.claims if c.earned_factor]
    return f"{ahead}; " + (f"back-tests held to {_range(tested)}." if tested else "not back-tested.")


def _range(factors: list[float]) -> str:
    low, high = times(min(factors)), times(max(factors))
    return low if low == high else f"{low} to {high}, by claim"


def _grades(report: ReportInput) -> str:
    """'13 claims EXTENDED: further than back-tests reached. ... Of 408 back-tests 394 fell inside 90 %.'"""
    found = []
    for grade, says in SAYS.items():
        count = sum(c.grade == grade for c in report.claims)
        found += [f"{counted(count, 'claim')} {grade}: {says}."] if count else []
    if rows := report.backtests:
        inside = sum(r.covered(0.9) for r in rows)
        found.append(f"Of {counted(len(rows), 'back-test')} {inside} ({percent(inside / len(rows))}) lie inside 90 %.")
    return " ".join(found)


def _cost(report: ReportInput) -> str:
    """'target 3.65e13 FLOP and 0.247 core-hours; the sweep behind the forecast 2.07e12 FLOP and 0.134 core-hours.'"""
    parts = []
    for who, name in (("target", "target"), ("spent", "the sweep behind the forecast")):
        units = (("flop", compute), ("core_h", _hours("core-hours")), ("gpu_h", _hours("GPU-hours")), ("usd", _money))
        known = [(key, show) for key, show in units if not missing(report.costs.get(f"{who}_{key}"))]
        amounts = [show(report.costs[f"{who}_{key}"]) for key, show in known]
        parts += [f"{name} {listed(amounts)}"] if amounts else []
    spent, target = report.costs.get("spent_flop"), report.costs.get("target_flop")
    ratio = f"; in FLOP the target is {times(target / spent)} the sweep" if spent and target else ""
    return "; ".join(parts) + f"{ratio}." if parts else f"{MISSING} (not stated)"


def _hours(unit: str) -> Callable[[float], str]:
    return lambda value: f"{number(value, 3)} {unit}"


def _money(value: float) -> str:
    return f"{value:.2f} USD"


def _said_before(report: ReportInput) -> str:
    prediction, receipt = report.prediction, report.receipt
    if prediction is None:
        return "No: not registered."
    when = f", {moment(receipt.time)}, {'signed' if receipt.signed else 'unsigned'}" if receipt else ""
    said = f"Yes{when}" if prediction.run_state == NOT_STARTED else f"No{when}: registered when the run had begun"
    if report.resolution is None:
        return f"{said}; no outcome yet."
    bound = "derive" if report.resolution.bound else "do not derive"
    return f"{said}; the target's seeds {bound} from the entry."
