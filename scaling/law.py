"""The law: ONE sympy expression with named parameters; value, Jacobian, inverse and printed forms are derived from it.

    >>> C, C0, A, b = sympy.symbols("C C_0 A b", positive=True)
    >>> mine = Law(
    ...     "log_law", A / (1 + b * sympy.log(C / C0)), (Input(C, unit="FLOP", reference=C0),),
    ...     (Parameter("scale", A, low=0), Parameter("slope", b, low=0, high=0.1)),
    ...     says="the metric falls as one over the log of compute", source="mine",
    ... )
    >>> fits.fit(mine, runs)

Laws are built from symbols: no user string is ever turned into an expression (that would evaluate it).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import sympy as sp

from scaling.errors import InputError
from scaling.expressions import compiled, log_of, stable, undone
from scaling.implicit import Implicit
from scaling.roles import Degenerate, Input, Parameter, problems

__all__ = ["Degenerate", "Input", "Law", "Parameter"]

VALUE = sp.Symbol("value_")


@dataclass(frozen=True, eq=False)
class Law:
    """A law of one or more inputs.

    formula     an expression of the value; or, with `output` and `between`, an equation sympy.Eq(lhs, rhs) of two
                positive sides that holds for exactly one value of the symbol `output` between two expressions
    metrics     the metrics the law may speak of (empty: any)
    link        the function g with g(value) close to linear in the law's linear parameters: "identity", or "neg_log"
                for a pass rate exp(-(...)). It only helps the solver to start; the objective is stated apart
    usual       the field's usual way to write it, for reports, and `constants_of` the constants of that form
    degenerate  at which parameters it is another law
    """

    name: str
    formula: sp.Expr
    inputs: tuple[Input, ...]
    parameters: tuple[Parameter, ...]
    says: str
    source: str
    metrics: tuple[str, ...] = ()
    link: str = "identity"
    usual: str = ""
    output: sp.Symbol | None = None
    between: tuple[sp.Expr, sp.Expr] | None = None
    usual_constants: Mapping[str, sp.Expr] = field(default_factory=dict)
    degenerate: tuple[Degenerate, ...] = ()

    def __post_init__(self) -> None:
        for problem, hint in problems(self.formula, self.inputs, self.parameters, self.output, self.between):
            raise InputError(f"law {self.name}: {problem}", hint)

    # -- numbers -------------------------------------------------------------------------------------------------

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(p.name for p in self.parameters)

    @property
    def constants(self) -> tuple[sp.Symbol, ...]:
        return tuple(i.reference for i in self.inputs if i.reference is not None)

    @property
    def bounds(self) -> np.ndarray:
        """(P, 2): low and high of every parameter."""
        return np.array([[p.low, p.high] for p in self.parameters])

    @cached_property
    def given_names(self) -> tuple[str, ...]:
        """What a value is asked at, in the order of the compiled functions: the inputs, then the references."""
        return tuple(str(s) for s in (*(i.symbol for i in self.inputs), *self.constants))

    def row(self, **values: float) -> np.ndarray:
        """Parameter values by role -> (1, P)."""
        if set(values) != set(self.names):
            raise InputError(f"law {self.name} has the parameters {', '.join(self.names)}; got {', '.join(values)}")
        return np.array([[values[name] for name in self.names]], float)

    def value(self, parameters_SP: np.ndarray, **inputs: Any) -> np.ndarray:
        """Values (S, n) for inputs of shape (n,). Inputs by symbol name, references included: C=..., C_0=..."""
        return self._evaluate(self._value, parameters_SP, inputs)[0]

    def along(self, parameters_SP: np.ndarray, **inputs: Any) -> np.ndarray:
        """Values (S, n) for inputs of shape (S, n): row s of the parameters at row s of the inputs."""
        xs = [np.asarray(inputs[str(i.symbol)], float) for i in self.inputs]
        with np.errstate(all="ignore"):
            columns = [column[:, None] for column in np.asarray(parameters_SP, float).T]
            return np.asarray(self._value(*xs, *(inputs[str(c)] for c in self.constants), *columns))

    def jacobian(self, parameters_SP: np.ndarray, **inputs: Any) -> np.ndarray:
        """d value / d parameter: (S, n, P), exact."""
        return np.stack(self._evaluate(self._jacobian, parameters_SP, inputs), axis=-1)

    def solve(self, target: Any, parameters_SP: np.ndarray, **references: float) -> np.ndarray:
        """Input at which the law takes the value `target`, per parameter row: (S,). NaN where it never does.

        From the formula undone; where it cannot be, or has no digits left there, by bisection in log x, 40 decades
        around the reference. A law that takes a value twice gives one of the two.
        """
        if len(self.inputs) != 1:
            raise InputError(f"law {self.name} has {len(self.inputs)} inputs", "fix all but one of them first")
        rows = np.atleast_2d(np.asarray(parameters_SP, float))
        goal = np.broadcast_to(np.asarray(target, float), len(rows))
        constants = [references[str(c)] for c in self.constants]
        found = np.full(len(rows), math.nan)
        if self._inverse is not None:
            with np.errstate(all="ignore"):
                found = np.broadcast_to(self._inverse(goal, *rows.T, *constants), len(rows))
            known = np.isfinite(found) & (found > 0) & self._returns(found, goal, rows, references)
            found = np.where(known, found, math.nan)
        if np.isnan(found).any():
            found = np.where(np.isnan(found), self._bracketed(goal, rows, references), found)
        return found

    def constants_of(self, parameters_SP: np.ndarray, **references: float) -> dict[str, np.ndarray]:
        """The constants of the usual form, (S,) each: those of inputs in their own units, without references."""
        rows = np.atleast_2d(np.asarray(parameters_SP, float))
        symbols = [*(p.symbol for p in self.parameters), *self.constants]
        numbers = [*rows.T, *(references[str(c)] for c in self.constants)]
        return {
            name: np.broadcast_to(compiled(symbols, expression)(*numbers), len(rows))
            for name, expression in self.usual_constants.items()
        }

    def given(self, **values: float) -> Law:
        """The law with some parameters known, such as a start measured before training: one of its own, which
        `law_named` finds by its name, "sigmoid[start=0.3]"."""
        known = {p.symbol: sp.Float(values[p.name]) for p in self.parameters if p.name in values}
        if len(known) != len(values) or not values:
            raise InputError(f"law {self.name} has the parameters {', '.join(self.names)}; got {', '.join(values)}")
        told = ", ".join(f"{name}={float(value)!r}" for name, value in values.items())
        return replace(
            self,
            name=f"{self.name}[{told}]",
            formula=self.formula.subs(known),
            parameters=tuple(p for p in self.parameters if p.name not in values),
            between=None if self.between is None else (self.between[0].subs(known), self.between[1].subs(known)),
            usual_constants={k: sp.sympify(v).subs(known) for k, v in self.usual_constants.items()},
            degenerate=(),
        )

    def _returns(
        self, found: np.ndarray, target: np.ndarray, rows: np.ndarray, references: Mapping[str, float]
    ) -> np.ndarray:
        """Does the law take the value there? (To an even power, a value below the floor has a root as well.)"""
        return np.isclose(self._at(found, rows, references), target, rtol=1e-6, atol=1e-12)

    def _at(self, x_S: np.ndarray, rows: np.ndarray, references: Mapping[str, float]) -> np.ndarray:
        """Value (S,) of row s at x_s."""
        return self.along(rows, **{str(self.inputs[0].symbol): x_S[:, None]}, **references)[:, 0]

    def _bracketed(
        self, target: np.ndarray, rows: np.ndarray, references: Mapping[str, float], decades: float = 40.0
    ) -> np.ndarray:
        """Bisection in log x, all rows at once, around the references: works for any monotone law."""
        centre = math.log(references[str(self.inputs[0].reference)]) if self.inputs[0].reference is not None else 0.0
        low, high = (np.full(len(rows), centre + s * decades * math.log(10.0)) for s in (-1.0, 1.0))

        def gap(log_x: np.ndarray) -> np.ndarray:
            return self._at(np.exp(log_x), rows, references) - target

        first, last = gap(low), gap(high)
        crossing = np.isfinite(first + last) & ((first > 0) != (last > 0))
        for _ in range(80):
            middle = (low + high) / 2
            above = (gap(middle) > 0) == (last > first)
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        return np.where(crossing, np.exp((low + high) / 2), math.nan)

    def _evaluate(self, function: Callable[..., Any], parameters_SP: np.ndarray, inputs: Mapping[str, Any]) -> list:
        rows = np.atleast_2d(np.asarray(parameters_SP, float))
        if missing := [name for name in self.given_names if name not in inputs]:
            raise InputError(f"law {self.name} needs {', '.join(missing)}")
        given, count = [inputs[name] for name in self.given_names], len(self.inputs)
        xs = [np.asarray(x, float) for x in given[:count]]
        shape = np.broadcast_shapes(*(x.shape for x in xs))
        columns = [rows[:, i].reshape((-1,) + (1,) * len(shape)) for i in range(rows.shape[1])]
        with np.errstate(all="ignore"):
            results = function(*xs, *given[count:], *columns)
        return [
            np.broadcast_to(r, (len(rows), *shape))
            for r in (results if isinstance(results, (list, tuple)) else [results])
        ]

    # -- derived from the expression -----------------------------------------------------------------------------

    @cached_property
    def _arguments(self) -> list[sp.Symbol]:
        return [*(i.symbol for i in self.inputs), *self.constants, *(p.symbol for p in self.parameters)]

    @cached_property
    def _implicit(self) -> Implicit | None:
        if self.output is None or self.between is None:
            return None
        return Implicit(self.formula, self.output, self.between, self._arguments, [p.symbol for p in self.parameters])

    @cached_property
    def _explicit(self) -> sp.Expr:
        return stable(self.formula)

    @cached_property
    def _value(self) -> Callable[..., Any]:
        return self._implicit.value if self._implicit else compiled(self._arguments, self._explicit)

    @cached_property
    def _slopes(self) -> list[sp.Expr]:
        return [sp.diff(self._explicit, p.symbol) for p in self.parameters]

    @cached_property
    def _jacobian(self) -> Callable[..., Any]:
        return self._implicit.jacobian if self._implicit else compiled(self._arguments, self._slopes, cse=True)

    @cached_property
    def value_and_slopes(self) -> Callable[..., list[np.ndarray]]:
        """One function of inputs, references and parameters, in this order, as arrays that broadcast: the value and its
        derivative by each parameter."""
        if self._implicit:
            return self._implicit.value_and_slopes
        return compiled(self._arguments, [self._explicit, *self._slopes], cse=True)

    @cached_property
    def linear(self) -> tuple[str, ...]:
        """Roles that enter linearly, and together, after the link: what variable projection solves exactly."""
        if self._implicit:
            return tuple(p.name for p in self.parameters if p.symbol in self._implicit.linear)
        linked = -sp.log(self.formula) if self.link == "neg_log" else self.formula
        linked = sp.expand_log(linked, force=True)
        kept: list[Parameter] = []
        for p in self.parameters:
            if all(sp.diff(linked, p.symbol, q.symbol) == 0 for q in [*kept, p]):
                kept.append(p)
        return tuple(p.name for p in kept)

    @cached_property
    def straight(self) -> bool:
        """Is the log of the value a straight line in the log of the one input?"""
        if self._implicit or len(self.inputs) > 1:
            return False
        x = self.inputs[0].symbol
        log_value = sp.expand_log(sp.log(self.formula), force=True)
        return not (x * sp.diff(log_value, x)).expand().has(x)

    @cached_property
    def _inverse(self) -> Callable[..., Any] | None:
        x, expression, value = self.inputs[0].symbol, self.formula, VALUE
        if self._implicit:
            # the side that holds x, in logarithms: its products and powers then come off one by one
            sides = [self.formula.lhs.subs(self.output, VALUE), self.formula.rhs.subs(self.output, VALUE)]
            expression, value = sides if sides[0].has(x) else sides[::-1]
            if value.has(x):
                return None
            expression, value = log_of(expression), log_of(value)
        found = undone(expression, x, value)
        order = [VALUE, *(p.symbol for p in self.parameters), *self.constants]
        return None if found is None else compiled(order, found)

    # -- print ---------------------------------------------------------------------------------------------------

    @property
    def text(self) -> str:
        return f"{self.formula.lhs} = {self.formula.rhs}" if self._implicit else str(self.formula)

    @property
    def latex(self) -> str:
        return sp.latex(self.formula)

    @property
    def typst(self) -> str:
        from scaling.printing import typst

        return typst(self.formula)

    def __repr__(self) -> str:
        return f"Law({self.name}: {self.text})"
