"""Laws that are no formula for the value but an equation: lhs(y, x) = rhs(y, x), with y between two ends.

Both sides are positive; with u the place of y in its bracket, 0 < u < 1, and w its logit,

    y = low + (high - low) u        G(u, x) = log lhs - log rhs = 0        u = 1 / (1 + exp(-w))

G is written in u before any number is put in (y - low = (high - low) u, high - y = (high - low) (1 - u)), so that no
digit is lost next to an end. All (S, n) roots are found at once: Newton in w inside a bracket that shrinks, bisection
where a step would leave it. Where G keeps its sign over the bracket, y is the end it points to.

    dy/dtheta = dlow + d(high - low) u - (high - low) G_theta / G_u       (implicit differentiation)
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from scaling.expressions import compiled, log_of

END = 600.0  # of w: exp(-600) is still a normal number
NEWTON, STEPS = 40, 110


class Implicit:
    """Value and Jacobian of `equation` in `output`. `arguments`: the symbols of both functions, in order."""

    def __init__(
        self,
        equation: sp.Eq,
        output: sp.Symbol,
        between: tuple[sp.Expr, sp.Expr],
        arguments: Sequence[sp.Symbol],
        parameters: Sequence[sp.Symbol],
    ) -> None:
        self.arguments, self.parameters = list(arguments), list(parameters)
        self.low, self.span = between[0], between[1] - between[0]
        self.u, self.rest = sp.Dummy("u", positive=True), sp.Dummy("rest", positive=True)
        width = sp.Dummy("width", positive=True)
        gap = sp.Integer(0)
        for side, sign in ((equation.lhs, 1), (equation.rhs, -1)):
            placed = side.subs(
                [
                    (output - between[0], width * self.u),
                    (between[1] - output, width * self.rest),
                    (self.span, width),
                    (output, between[0] + width * self.u),
                ]
            )
            gap += sign * log_of(placed)
        self.gap = sp.expand(sp.expand_log(gap, force=True)).subs(width, self.span)

    @property
    def linear(self) -> list[sp.Symbol]:
        """Parameters that only move the ends, and move them linearly: the value is linear in them, together."""
        found: list[sp.Symbol] = []
        for p in self.parameters:
            ends = [sp.diff(e, p, q) == 0 for e in (self.low, self.span) for q in (*found, p)]
            if not self.gap.has(p) and all(ends):
                found.append(p)
        return found

    def value(self, *numbers: Any) -> np.ndarray:
        low, span = self._ends(*numbers)[:2]
        return low + span * _logistic(self._root(*numbers))

    def jacobian(self, *numbers: Any) -> list[np.ndarray]:
        return self.value_and_slopes(*numbers)[1:]

    def value_and_slopes(self, *numbers: Any) -> list[np.ndarray]:
        w = self._root(*numbers)
        u = _logistic(w)
        _, steep, *moved = self._slopes(u, _logistic(-w), *numbers)
        low, span, *ends = self._ends(*numbers)
        count = len(self.parameters)
        return [low + span * u, *(ends[i] + ends[count + i] * u - span * moved[i] / steep for i in range(count))]

    @cached_property
    def _steep(self) -> sp.Expr:
        """dG/du along u + rest = 1; dG/dw is u rest times this."""
        return sp.diff(self.gap, self.u) - sp.diff(self.gap, self.rest)

    @cached_property
    def _slopes(self) -> Any:
        moved = [sp.diff(self.gap, p) for p in self.parameters]
        return compiled([self.u, self.rest, *self.arguments], [self.gap, self._steep, *moved], cse=True)

    @cached_property
    def _gap(self) -> Any:
        return compiled([self.u, self.rest, *self.arguments], [self.gap, self._steep], cse=True)

    @cached_property
    def _ends(self) -> Any:
        ends = [self.low, self.span]
        return compiled(self.arguments, [*ends, *(sp.diff(e, p) for e in ends for p in self.parameters)], cse=True)

    def _root(self, *numbers: Any) -> np.ndarray:
        """w of every row, by Newton's method inside a shrinking bracket."""
        shape = np.broadcast_shapes(*(np.shape(n) for n in numbers))

        def gap(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            u, rest = _logistic(w), _logistic(-w)
            found, steep = self._gap(u, rest, *numbers)
            return np.broadcast_to(found, shape), steep * (u * rest)

        low, high = np.full(shape, -END), np.full(shape, END)
        first, last = gap(low)[0], gap(high)[0]
        sign = np.where(last >= first, 1.0, -1.0)
        low, high = np.where(sign * last < 0, high, low), np.where(sign * first > 0, low, high)
        w = np.clip(np.zeros(shape), low, high)
        for step in range(STEPS):
            found, slope = gap(w)
            above = sign * found > 0
            low, high = np.where(above, low, w), np.where(above, w, high)
            tried = w - found / slope
            inside = (tried >= low) & (tried <= high) & (step < NEWTON)
            size = 1 + np.abs(w)
            # Newton's error is the square of its last step; a bracket's is its width
            settled = (inside & (np.abs(tried - w) <= 1e-9 * size)) | (high - low <= 1e-14 * size)
            w = np.where(inside, tried, (low + high) / 2)
            if settled.all():
                break
        return np.where(np.isfinite(first + last), w, np.nan)


def _logistic(w: np.ndarray) -> np.ndarray:
    return 1.0 / (1.0 + np.exp(-w))
