"""Many posteriors of one law as one array: cost, gradient and curvature of each, and of all at once.

Shapes: S problems (starts, resamples or curves), n rows, P parameters of the law.

    cost_s = sum_i w_si rho(u_si) + prior / 2        u_si = (z(f(x_i; theta_s)) - z_si) p_si

Every array over rows has one row that serves all problems, or S rows of their own, the inputs included: resamples
share their inputs, curves do not. Work is cut into blocks, so that a million rows need no gigabytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fits.held import Held, hold
from fits.objectives import Objective, forward, slope
from fits.priors import Prior
from scaling.laws import Law

BLOCK = 30_000  # problems x rows evaluated at a time


@dataclass(frozen=True)
class Problems:
    """S posteriors. `precisions_Sn` is 1 / standard deviation of a row; `weights_Sn` how often it counts (default 1);
    `centres_SK` shift the priors; `held` says which parameters are not free."""

    law: Law
    inputs: Mapping[str, np.ndarray | float]
    objective: Objective
    targets_Sn: np.ndarray
    precisions_Sn: np.ndarray
    priors: tuple[Prior, ...] = ()
    centres_SK: np.ndarray | None = None  # in units of each prior's spread
    weights_Sn: np.ndarray | None = None
    held: Held | None = None

    @cached_property
    def free(self) -> Held:
        return self.held or hold(self.law)

    @property
    def arrays(self) -> list[np.ndarray]:
        """What may have a row per problem."""
        found = [self.targets_Sn, self.precisions_Sn, self.weights_Sn, self.centres_SK, *self.inputs.values()]
        return [a for a in found if isinstance(a, np.ndarray) and a.ndim == 2]

    @cached_property
    def size(self) -> int:
        """S: how many different problems there are."""
        return max(len(a) for a in self.arrays)

    @property
    def length(self) -> int:
        return self.targets_Sn.shape[1]

    def at(self, rows: np.ndarray) -> Problems:
        """The problems `rows`, in that order."""
        if self.size == 1 or np.array_equal(rows, np.arange(self.size)):
            return self
        return self._map(lambda a: _pick(a, rows))

    def thinned(self, columns: np.ndarray | slice) -> Problems:
        """The same problems on some of their data."""
        plain = replace(self, centres_SK=None)  # a column of the centres is a prior
        return replace(plain._map(lambda a: _cut(a, columns)), centres_SK=self.centres_SK)

    def evaluate(
        self, theta_SP: np.ndarray, rows: np.ndarray, safe_S: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(cost (S,), gradient (S, P), curvature (S, P, P)) of the problems `rows` at theta.

        The curvature is J' diag(w c) J, c being rho'' (safe_S = 0), the curvature of rho's majorising parabola (1, the
        default) or between the two.
        """
        safe = np.ones(len(rows)) if safe_S is None else safe_S
        each = max(1, BLOCK // self.length)
        cuts = [slice(i, i + each) for i in range(0, len(rows), each)]
        parts = [self._block(theta_SP[i], rows[i], safe[i]) for i in cuts]
        whole = parts[0] if len(parts) == 1 else tuple(np.concatenate(p) for p in zip(*parts, strict=True))
        cost, gradient, curvature = whole
        for k, prior in enumerate(self.priors):
            at = self.law.names.index(prior.role)
            shift = 0.0 if self.centres_SK is None else _pick(self.centres_SK, rows)[:, k]
            with np.errstate(all="ignore"):
                r, d = prior.residual(theta_SP[:, at]) - shift, prior.slope(theta_SP[:, at])
                cost, gradient[:, at] = cost + r * r / 2, gradient[:, at] + r * d
                curvature[:, at, at] += d * d
        return np.where(np.isfinite(cost), cost, np.inf), gradient, curvature

    def residuals(self, theta_SP: np.ndarray) -> np.ndarray:
        """Standardised residuals (S, n); the problems are those of theta's rows."""
        return self._standardised(theta_SP)[0]

    def information(self, theta_SP: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """J'J of the data alone, weighted, without prior: (S, P, P)."""
        rows = np.zeros(len(theta_SP), int) if rows is None else rows
        each = max(1, BLOCK // self.length)
        parts = []
        for i in range(0, len(rows), each):
            total: np.ndarray | float = 0.0
            for some in self._cuts(rows[i : i + each]):
                slope_SPn, steep_Sn, weight_Sn = some._standardised(theta_SP[i : i + each])[1:]
                each_Sn = weight_Sn * steep_Sn**2
                total = total + np.matmul(slope_SPn * each_Sn[:, None], np.swapaxes(slope_SPn, 1, 2))
            parts.append(np.asarray(total))
        return np.concatenate(parts)

    def _block(
        self, theta_SP: np.ndarray, rows: np.ndarray, safe_S: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        parts = [some._sums(theta_SP, safe_S) for some in self._cuts(rows)]
        return parts[0] if len(parts) == 1 else tuple(sum(p) for p in zip(*parts, strict=True))  # type: ignore[return-value]

    def _cuts(self, rows: np.ndarray) -> list[Problems]:
        """The problems `rows`, their data in pieces of at most BLOCK numbers."""
        some = self.at(rows)
        if self.length <= BLOCK:
            return [some]
        return [some.thinned(slice(i, i + BLOCK)) for i in range(0, self.length, BLOCK)]

    def _sums(self, theta_SP: np.ndarray, safe_S: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        residual_Sn, slope_SPn, steep_Sn, weight_Sn = self._standardised(theta_SP)
        with np.errstate(all="ignore"):
            cost_Sn, psi_Sn, curved_Sn = self.objective.rho(residual_Sn)
            second_Sn = self.objective.second(residual_Sn)
            if second_Sn is not None:
                curved_Sn = second_Sn + safe_S[:, None] * (curved_Sn - second_Sn)
            gradient = np.matmul(slope_SPn, (weight_Sn * psi_Sn * steep_Sn)[..., None])[..., 0]
            curved_Sn = weight_Sn * curved_Sn * steep_Sn**2
            curvature = np.matmul(slope_SPn * curved_Sn[:, None], np.swapaxes(slope_SPn, 1, 2))
            return (weight_Sn * cost_Sn).sum(1), gradient, curvature

    def _standardised(self, theta_SP: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(residual (S, n), slope of the value (S, P, n), the residual's by the value (S, n), weight (S or 1, n)); the
        problems are those of theta's rows."""
        with np.errstate(all="ignore"):
            value_Sn, slope_SPn = value_and_slopes(self.law, theta_SP, self.inputs)
            residual_Sn = (forward(self.objective.scale, value_Sn) - self.targets_Sn) * self.precisions_Sn
            steep_Sn = slope(self.objective.scale, value_Sn) * self.precisions_Sn
        return residual_Sn, slope_SPn, steep_Sn, np.ones((1, 1)) if self.weights_Sn is None else self.weights_Sn

    def _map(self, change: Callable[[Any], Any]) -> Problems:
        return replace(
            self,
            inputs={k: change(a) for k, a in self.inputs.items()},
            targets_Sn=change(self.targets_Sn),
            precisions_Sn=change(self.precisions_Sn),
            centres_SK=change(self.centres_SK),
            weights_Sn=change(self.weights_Sn),
        )


def _pick(a: Any, rows: np.ndarray) -> Any:
    return a[rows] if np.ndim(a) == 2 and len(a) > 1 else a


def _cut(a: Any, columns: np.ndarray | slice) -> Any:
    return a if np.ndim(a) == 0 or a.shape[-1] == 1 else a[..., columns]


def value_and_slopes(
    law: Law, theta_SP: np.ndarray, inputs: Mapping[str, np.ndarray | float]
) -> tuple[np.ndarray, np.ndarray]:
    """(value (S, n), d value / d parameter (S, P, n)) at inputs of shape (n,) or (S, n): one compiled expression."""
    arguments = [inputs[name] for name in law.given_names]
    found = law.value_and_slopes(*arguments, *(column[:, None] for column in theta_SP.T))
    rows = max(np.shape(x)[-1] if np.ndim(x) else 1 for x in arguments)
    out = np.empty((len(theta_SP), len(found), rows))
    for k, part in enumerate(found):
        out[:, k] = part
    return out[:, 0], out[:, 1:]
