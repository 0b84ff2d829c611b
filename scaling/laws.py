"""Scaling laws. A law is ONE sympy expression with named parameters; everything else is derived from it.

Value, Jacobian, inverse, LaTeX, typst math and plain text come from the same expression, so they cannot disagree.
Laws are built from symbols: no user string is ever turned into an expression (that would evaluate it).

    >>> POWER.value(POWER.row(floor=1.7, scale=1.0, exponent=0.3), C=1e21, C_0=1e20)
    array([2.20118723])
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import sympy as sp

from scaling.errors import InputError


@dataclass(frozen=True)
class Input:
    """A quantity the law is a function of. `reference` is a symbol fixed once from a fit's data (geometric mean);
    `column` names the observations' column it is read from (empty: the compute axis, or the symbol's own name)."""

    symbol: sp.Symbol
    unit: str = ""
    reference: sp.Symbol | None = None
    column: str = ""


@dataclass(frozen=True)
class Parameter:
    """A role (`floor`, `scale`, `exponent` ...) played by a symbol, with its bounds. Symbols are only for printing."""

    name: str
    symbol: sp.Symbol
    low: float = -math.inf
    high: float = math.inf


@dataclass(frozen=True, eq=False)
class Law:
    """`metrics` lists the metrics the law may speak of (empty: any). `link` names the transform it is fitted under.

    `link` is the function g with g(value) close to linear in the law's linear parameters: "identity", or "neg_log" for
    a pass rate exp(-(...)). It only helps the solver to start; the objective is stated apart.
    """

    name: str
    formula: sp.Expr
    inputs: tuple[Input, ...]
    parameters: tuple[Parameter, ...]
    says: str
    source: str
    metrics: tuple[str, ...] = ()
    link: str = "identity"
    usual: str = ""  # the field's usual way to write it, for reports

    # -- numbers -------------------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(p.name for p in self.parameters)

    @property
    def constants(self) -> tuple[sp.Symbol, ...]:
        return tuple(i.reference for i in self.inputs if i.reference is not None)

    @property
    def bounds(self) -> np.ndarray:
        """(P, 2): low and high of every parameter."""
        return np.array([[p.low, p.high] for p in self.parameters])

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
            return np.asarray(self._value(*xs, *columns, *(inputs[str(c)] for c in self.constants)))

    def jacobian(self, parameters_SP: np.ndarray, **inputs: Any) -> np.ndarray:
        """d value / d parameter: (S, n, P), exact."""
        return np.stack(self._evaluate(self._jacobian, parameters_SP, inputs), axis=-1)

    def solve(self, target: Any, parameters_SP: np.ndarray, **references: float) -> np.ndarray:
        """Input at which the law takes the value `target`, per parameter row: (S,). NaN where it never does."""
        if len(self.inputs) != 1:
            raise InputError(f"law {self.name} has {len(self.inputs)} inputs", "fix all but one of them first")
        if self._inverse is None:
            return self._bracketed(target, parameters_SP, references)
        columns = np.asarray(parameters_SP, float).T
        with np.errstate(all="ignore"):
            found = self._inverse(np.asarray(target, float), *columns, *(references[str(c)] for c in self.constants))
        found = np.broadcast_to(np.asarray(found), columns.shape[1:])
        found = np.where(np.abs(np.imag(found)) < 1e-9 * (1 + np.abs(found)), np.real(found), math.nan)
        found = np.where(np.isfinite(found) & (found > 0), found, math.nan)
        return np.where(self._returns(found, target, parameters_SP, references), found, math.nan)

    def _returns(
        self, found: np.ndarray, target: Any, parameters_SP: np.ndarray, references: Mapping[str, float]
    ) -> np.ndarray:
        """Does the law take the value there? (To an even power, a value below the floor has a root as well.)"""
        rows = np.atleast_2d(np.asarray(parameters_SP, float))
        columns = [found, *rows.T, *(references[str(c)] for c in self.constants)]
        with np.errstate(all="ignore"):
            back = np.asarray(self._value(*columns), float)
        return np.isclose(back, target, rtol=1e-6, atol=1e-12)

    def _evaluate(self, function: Callable[..., Any], parameters_SP: np.ndarray, inputs: Mapping[str, Any]) -> list:
        rows = np.atleast_2d(np.asarray(parameters_SP, float))
        missing = [s for s in map(str, (*(i.symbol for i in self.inputs), *self.constants)) if s not in inputs]
        if missing:
            raise InputError(f"law {self.name} needs {', '.join(missing)}")
        xs = [np.asarray(inputs[str(i.symbol)], float) for i in self.inputs]
        shape = np.broadcast_shapes(*(x.shape for x in xs))
        columns = [rows[:, i].reshape((-1,) + (1,) * len(shape)) for i in range(rows.shape[1])]
        with np.errstate(all="ignore"):
            results = function(*xs, *columns, *(inputs[str(c)] for c in self.constants))
        return [
            np.broadcast_to(r, (len(rows), *shape))
            for r in (results if isinstance(results, (list, tuple)) else [results])
        ]

    @cached_property
    def _arguments(self) -> list[sp.Symbol]:
        return [*(i.symbol for i in self.inputs), *(p.symbol for p in self.parameters), *self.constants]

    @cached_property
    def _value(self) -> Callable[..., Any]:
        return sp.lambdify(self._arguments, self.formula, "numpy")

    @cached_property
    def _jacobian(self) -> Callable[..., Any]:
        return sp.lambdify(
            self._arguments, [sp.diff(self.formula, p.symbol) for p in self.parameters], "numpy", cse=True
        )

    @cached_property
    def linear(self) -> tuple[str, ...]:
        """Roles that enter linearly, and together, after the link: what variable projection solves exactly."""
        linked = -sp.log(self.formula) if self.link == "neg_log" else self.formula
        linked = sp.expand_log(linked, force=True)
        kept: list[Parameter] = []
        for p in self.parameters:
            if all(sp.diff(linked, p.symbol, q.symbol) == 0 for q in [*kept, p]):
                kept.append(p)
        return tuple(p.name for p in kept)

    @cached_property
    def _inverse(self) -> Callable[..., Any] | None:
        y = sp.Symbol("value_")
        x = sp.Dummy("x", positive=True)
        stand_in = {p.symbol: sp.Dummy(p.name, positive=True) for p in self.parameters}
        stand_in |= {c: sp.Dummy(str(c), positive=True) for c in self.constants}
        try:
            found = sp.solve(sp.Eq(self.formula.subs({self.inputs[0].symbol: x, **stand_in}), y), x)
        except NotImplementedError:
            return None
        if len(found) != 1:
            return None
        order = [y, *(stand_in[p.symbol] for p in self.parameters), *(stand_in[c] for c in self.constants)]
        expression = found[0]
        return lambda *a: _complex_safe(sp_lambdify(tuple(order), expression), *a)

    def _bracketed(
        self, target: Any, parameters_SP: np.ndarray, references: Mapping[str, float], decades: float = 40.0
    ) -> np.ndarray:
        """Bisection in log x, all rows at once, around the references: works for any monotone law."""
        rows = np.atleast_2d(parameters_SP)
        centre = math.log(references[str(self.inputs[0].reference)]) if self.inputs[0].reference is not None else 0.0
        low, high = (np.full(len(rows), centre + s * decades * math.log(10.0)) for s in (-1.0, 1.0))

        def gap(log_x: np.ndarray) -> np.ndarray:
            names = {str(self.inputs[0].symbol): np.exp(log_x)[:, None]}
            full = [
                self.value(r[None], **{k: v[i] for k, v in names.items()}, **references)[0, 0]
                for i, r in enumerate(rows)
            ]
            return np.array(full) - target

        rising = gap(high) > gap(low)
        crossing = (gap(high) > 0) != (gap(low) > 0)
        for _ in range(80):
            middle = (low + high) / 2
            above = (gap(middle) > 0) == rising
            low, high = np.where(above, low, middle), np.where(above, middle, high)
        return np.where(crossing, np.exp((low + high) / 2), math.nan)

    # -- print ---------------------------------------------------------------------------------------------------

    @property
    def text(self) -> str:
        return str(self.formula)

    @property
    def latex(self) -> str:
        return sp.latex(self.formula)

    @property
    def typst(self) -> str:
        from scaling.printing import typst

        return typst(self.formula)

    def __repr__(self) -> str:
        return f"Law({self.name}: {self.text})"


@lru_cache(maxsize=256)
def sp_lambdify(arguments: tuple[sp.Symbol, ...], expression: sp.Expr) -> Callable[..., Any]:
    return sp.lambdify(list(arguments), expression, "numpy")


def _complex_safe(function: Callable[..., Any], *arguments: Any) -> Any:
    """A root of a negative number (a value below the floor) becomes complex instead of NaN, and is rejected after."""
    return function(*(np.asarray(a, complex) for a in arguments))


C, C0, E, A, alpha, k = sp.symbols("C C_0 E A alpha k", positive=True)
_COMPUTE = Input(C, unit="FLOP", reference=C0)
_EXPONENT = 0.005, 2.0

POWER = Law(
    name="power",
    formula=E + A * (C / C0) ** -alpha,
    inputs=(_COMPUTE,),
    parameters=(
        Parameter("floor", E, low=0.0),
        Parameter("scale", A, low=0.0),
        Parameter("exponent", alpha, *_EXPONENT),
    ),
    says="the metric falls to a floor E; A is the excess over it at C_0",
    usual="L(C) = a C^b + c",
    source="GPT-4 technical report (2023), section 3.1: L(C) = a C^b + c",
)

PASS_RATE = Law(
    name="pass_rate",
    formula=sp.exp(-(E + A * (C / C0) ** -alpha)),
    inputs=(_COMPUTE,),
    metrics=("pass_rate", "accuracy"),
    parameters=(
        Parameter("floor", E, low=0.0),
        Parameter("scale", A, low=0.0),
        Parameter("exponent", alpha, *_EXPONENT),
    ),
    says="-log of the mean pass rate falls as a power of compute to a floor E (the pass rate saturates at exp(-E))",
    source="form of the GPT-4 report's capability law, on the mean pass rate and with a floor",
    link="neg_log",
)

NEG_LOG_PASS = Law(
    name="neg_log_pass",
    formula=A * (C / C0) ** -k,
    inputs=(_COMPUTE,),
    metrics=("neg_log_pass",),
    parameters=(Parameter("scale", A, low=0.0), Parameter("exponent", k, *_EXPONENT)),
    says="the mean log pass rate vanishes as a power of compute, without a floor",
    usual="-E[log pass rate] = alpha C^-k",
    source="GPT-4 technical report (2023), section 3.2: -E_P[log(pass_rate(C))] = alpha C^-k",
)

LAWS = {law.name: law for law in (POWER, PASS_RATE, NEG_LOG_PASS)}


def law_named(name: str) -> Law:
    if name not in LAWS:
        raise InputError(f"there is no law {name!r}", f"laws: {', '.join(LAWS)}")
    return LAWS[name]
