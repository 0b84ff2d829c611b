"""Parameters that are not free: fixed at a value, or tied to another one by a ratio.

    theta_P = phi_F @ matrix_FP + offset_P        F free parameters phi, P parameters of the law

A fixed parameter has a zero column and its value as offset; one tied to a leader has the ratio in the leader's row. The
solver steps in phi; everything else (law, priors, draws, reports) keeps seeing all P parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from scaling.errors import InputError
from scaling.laws import Law

Tie = str | tuple[str, float]  # the leader, or (leader, ratio): role = ratio x leader


@dataclass(frozen=True)
class Held:
    """The affine map above; `leaders_F` are the positions of the free parameters, `bounds_F2` their bounds once every
    follower's are kept as well; `says` is how a fit prints what is held."""

    matrix_FP: np.ndarray
    offset_P: np.ndarray
    leaders_F: np.ndarray
    bounds_F2: np.ndarray
    says: str = ""

    @cached_property
    def nothing(self) -> bool:
        """Is every parameter free? Then phi is theta."""
        return np.array_equal(self.matrix_FP, np.eye(len(self.offset_P))) and not self.offset_P.any()

    def expand(self, phi_SF: np.ndarray) -> np.ndarray:
        return phi_SF @ self.matrix_FP + self.offset_P

    def reduce(self, theta_SP: np.ndarray) -> np.ndarray:
        """The free parameters of a row, inside their bounds; what is held is forgotten."""
        return np.clip(theta_SP[:, self.leaders_F], self.bounds_F2[:, 0], self.bounds_F2[:, 1])

    def spread(self, flag_SF: np.ndarray) -> np.ndarray:
        """A flag of the free parameters, shared with what is tied to them: (S, P)."""
        return flag_SF @ (self.matrix_FP != 0)


def hold(law: Law, fixed: Mapping[str, float] | None = None, tied: Mapping[str, Tie] | None = None) -> Held:
    """`fixed={"floor": 1.69}` gives values; `tied={"beta": "alpha"}` or `{"beta": ("alpha", 2.0)}` shares one value."""
    fixed, ties = dict(fixed or {}), {k: (t, 1.0) if isinstance(t, str) else t for k, t in (tied or {}).items()}
    names, bounds = law.names, law.bounds
    for role in [*fixed, *ties, *(leader for leader, _ in ties.values())]:
        if role not in names:
            raise InputError(f"law {law.name} has no parameter {role!r}", f"parameters: {', '.join(names)}")
    for role, (leader, ratio) in ties.items():
        if role in fixed or leader in fixed or leader in ties or ratio <= 0:
            raise InputError(
                f"{role} cannot be {ratio:g} x {leader}", "tie to a parameter that is free itself, by a ratio above 0"
            )
    for role, value in fixed.items():
        low, high = bounds[names.index(role)]
        if not low <= value <= high:
            raise InputError(f"{role} = {value:g} is outside its bounds {low:g} to {high:g}")
    free = [name for name in names if name not in fixed and name not in ties]
    if not free:
        raise InputError(f"no parameter of law {law.name} is left to fit")
    matrix = np.zeros((len(free), len(names)))
    for f, name in enumerate(free):
        matrix[f, names.index(name)] = 1.0
    for role, (leader, ratio) in ties.items():
        matrix[free.index(leader), names.index(role)] = ratio
    limits = np.array([_limits(row, bounds) for row in matrix])
    if np.any(limits[:, 0] > limits[:, 1]):
        raise InputError("the bounds of the tied parameters have no value in common")
    offset = np.array([fixed.get(name, 0.0) for name in names])
    told = [f"{role} = {value:g} given" for role, value in fixed.items()]
    told += [f"{role} = {'' if ratio == 1 else f'{ratio:g} x '}{leader}" for role, (leader, ratio) in ties.items()]
    return Held(matrix, offset, np.array([names.index(n) for n in free]), limits, "".join(f"; {t}" for t in told))


def _limits(row_P: np.ndarray, bounds_P2: np.ndarray) -> tuple[float, float]:
    """What a leader may be so that it and its followers (ratio > 0) keep their bounds."""
    at = np.flatnonzero(row_P)
    return float(np.max(bounds_P2[at, 0] / row_P[at])), float(np.min(bounds_P2[at, 1] / row_P[at]))
