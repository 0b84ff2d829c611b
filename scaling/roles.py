"""What a law is made of: inputs, parameters, and the cases in which it is another law."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import sympy as sp


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
    """A role (`floor`, `scale`, `exponent` ...) played by a symbol, with its bounds. Symbols are only for printing.

    `unit`: "metric" is the metric's own, "C_0" a multiple of that reference; empty: a plain number.
    """

    name: str
    symbol: sp.Symbol
    low: float = -math.inf
    high: float = math.inf
    unit: str = ""


@dataclass(frozen=True)
class Degenerate:
    """With the roles `at` these values, a law IS `law`. `where` gives that law's roles, as expressions in this law's
    symbols (a role not named there is this law's role of the same name); `inputs` its inputs, if they differ."""

    law: str
    at: Mapping[str, float]
    where: Mapping[str, sp.Expr] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)


def problems(
    formula: Any,
    inputs: tuple[Input, ...],
    parameters: tuple[Parameter, ...],
    output: sp.Symbol | None,
    between: tuple[sp.Expr, sp.Expr] | None,
) -> Iterator[tuple[str, str]]:
    """What keeps an expression from being a law, each with a hint."""
    if not isinstance(formula, sp.Basic):
        yield (
            f"the formula is a {type(formula).__name__}, not an expression of symbols",
            'build it from C, A, k = sympy.symbols("C A k"); a string is never evaluated',
        )
        return
    if (output is None) != (between is None) or isinstance(formula, sp.Eq) != (output is not None):
        yield "an equation needs `output` and `between`, and only an equation has them", ""
    names = [p.name for p in parameters]
    if len(set(names)) != len(names):
        yield f"a role stands twice in {', '.join(names)}", "roles are names of single parameters"
    references = {i.reference for i in inputs if i.reference is not None}
    declared = {*references, *(i.symbol for i in inputs), *(p.symbol for p in parameters), output}
    unknown = sorted(map(str, formula.free_symbols - declared))
    if unknown:
        yield f"{', '.join(unknown)} is neither an input nor a parameter", "declare every symbol of the formula"
    for p in parameters:
        if not p.low < p.high:
            yield f"the bounds of {p.name} are {p.low:g} .. {p.high:g}", "low < high"
