"""What the runs of a surface support: how far outside of them a place (N, D) lies, and the grade of an answer there.

ahead      N, D and 6 N D over the largest of the runs
outside    e-folds from x = (log N, log D) to the convex hull of the places x_k,
           max over directions v of v . x - max_k v . x_k; 0 inside, and up to THIN off it
factor     the largest of ahead and exp(outside); back-tests earn and fail factors

REFUSED    TOO_FEW_POINTS, a verdict that is not "predictable", more than FARTHEST ahead, or a factor at which
           back-tests failed
EARNED     a factor of 1 (among the runs), or one that back-tests earned; never off the only line of the runs
EXTENDED   anything else
UNEARNED   a compute needed that is more than FARTHEST ahead: said, but no forecast
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fits.forecasts import FARTHEST, Needed
from fits.places import THIN, Places
from fits.surfaces import Surface
from fits.verdicts import PREDICTABLE, UNTESTED
from scaling.compute import six_nd
from scaling.errors import InputError
from scaling.fitted import BacktestRow, FitStatus, Grade
from scaling.units import format_compute

DIRECTIONS = np.linspace(0, 2 * np.pi, 360, endpoint=False)
FAR = f"more than {FARTHEST:,.0f}x beyond the runs, where no forecast is given"


@dataclass(frozen=True)
class Backtested:
    """Factors that the runs' own back-tests earned and failed at; None: not tested, or none."""

    earned: float | None = None
    failed: float | None = None

    @classmethod
    def of(cls, rows: Sequence[BacktestRow]) -> Backtested:
        from fits.backtests import earned_factor, failed_factor

        return cls(earned_factor(rows), failed_factor(rows))

    def holds(self, factor: float) -> bool:
        return factor <= max(1.0, self.earned or 1.0) * (1 + 1e-9)

    def refusal(self, factor: float) -> str:
        failed = self.failed is not None and factor >= self.failed
        return f"refused: back-tests on these runs failed at {self.failed:.3g}x" if failed else ""


def ahead(places: Places, n: float, d: float) -> dict[str, float]:
    """How far N, D and 6 N D lie beyond the largest of the runs."""
    log_n, log_d = places.log_KI.T
    reached = {"N": np.exp(log_n).max(), "D": np.exp(log_d).max(), "C": compute_of(places).max()}
    return {name: float(at / reached[name]) for name, at in (("N", n), ("D", d), ("C", six_nd(n, d)))}


def compute_of(places: Places) -> np.ndarray:
    """6 N D, (K,)."""
    return six_nd(1.0, np.exp(places.log_KI.sum(1)))


def outside(places: Places, n: float, d: float) -> float:
    """e-folds from the hull of the places."""
    v_VI = np.column_stack([np.cos(DIRECTIONS), np.sin(DIRECTIONS)])
    past_V = v_VI @ np.log([n, d]) - (places.log_KI @ v_VI.T).max(0)
    return float(past_V.max()) if past_V.max() > THIN else 0.0


def off_the_line(places: Places, n: float, d: float) -> bool:
    """Do all runs lie on one line, and the place does not?"""
    if not places.flat:
        return False
    centre_I = places.log_KI.mean(0)
    across_I = np.linalg.svd(places.log_KI - centre_I)[2][-1]
    return bool(abs((np.log([n, d]) - centre_I) @ across_I) > THIN)


def factor_of(places: Places, n: float, d: float) -> float:
    return max(*ahead(places, n, d).values(), float(np.exp(outside(places, n, d))))


def check_place(places: Places, n: float, d: float) -> None:
    """InputError below the smallest size or the smallest number of tokens."""
    for name, given, least in zip(("N", "D"), (n, d), np.exp(places.log_KI.min(0)), strict=True):
        _check(f"{name} = {given:.3g}", given, float(least), f"{name} = {least:.3g}", places)


def check_compute(places: Places, compute: float) -> None:
    least = float(compute_of(places).min())
    _check(format_compute(compute), compute, least, format_compute(least), places)


def _check(says: str, given: float, least: float, smallest: str, places: Places) -> None:
    if given < least * (1 - 1e-9):
        raise InputError(
            f"{says} lies below the smallest run of {places.subject.label}, {smallest}",
            "forecasts look upward: add smaller runs, or ask for more",
        )


def refusal(made: Surface) -> str:
    """Why the runs support no answer at all; "" where they do."""
    if made.status == FitStatus.TOO_FEW_POINTS:
        return f"refused: {made.status}, {len(made.places.z_K)} places (N, D)"
    if made.places.verdict not in (PREDICTABLE, UNTESTED):
        return f"refused: the verdict on the runs is '{made.places.verdict}'"
    return ""


def grade(made: Surface, n: float, d: float, tested: Backtested) -> tuple[Grade, str]:
    """Of a forecast at N parameters and D tokens; and why it is REFUSED (else "")."""
    name, most = max(ahead(made.places, n, d).items(), key=lambda item: item[1])
    factor = factor_of(made.places, n, d)
    why = refusal(made)
    if not why and most > FARTHEST * (1 + 1e-2):
        why = f"refused: {name} is {most:.3g}x beyond the runs; {FARTHEST:,.0f}x at most"
    if why := why or tested.refusal(factor):
        return Grade.REFUSED, why
    earned = tested.holds(factor) and not off_the_line(made.places, n, d)
    return Grade.EARNED if earned else Grade.EXTENDED, ""


def grade_needed(made: Surface, needed: Needed, tested: Backtested) -> tuple[Grade, str]:
    """Of the compute that a value needs (as 6 N D), by its median; and why it is REFUSED or UNEARNED."""
    factor = needed.median / float(compute_of(made.places).max())
    if why := refusal(made) or tested.refusal(factor):
        return Grade.REFUSED, why
    if factor > FARTHEST * (1 + 1e-2):
        return Grade.UNEARNED, FAR
    return Grade.EARNED if tested.holds(factor) and not made.places.flat else Grade.EXTENDED, ""
