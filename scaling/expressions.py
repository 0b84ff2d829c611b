"""From a sympy expression to numbers: a form that does not overflow, and the inverse by undoing operations in turn.

Expressions are built from symbols and compiled; no string of a user ever becomes one (that would evaluate it).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import sympy as sp


class softplus(sp.Function):
    """log(1 + exp(w)), which stays finite where exp(w) does not."""

    nargs = 1
    is_real = True

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        return 1 / (1 + sp.exp(-self.args[0]))


def _softplus(w: Any) -> Any:
    return np.logaddexp(0.0, w)


class norm(sp.Function):
    """(x^p + y^p)^(1/p) of x, y >= 0 and p >= 1, which stays finite where x^p does not."""

    nargs = 3
    is_real = True

    def fdiff(self, argindex: int = 1) -> sp.Expr:
        x, y, p = self.args
        return (norm_x(x, y, p), norm_x(y, x, p), norm_p(x, y, p))[argindex - 1]


class norm_x(sp.Function):
    """The slope of norm by its first argument, (x / norm)^(p - 1)."""


class norm_p(sp.Function):
    """The slope of norm by p, norm (w log a + (1 - w) log b - log(a^p + b^p) / p) / p, with a = x / max(x, y), b =
    y / max(x, y) and w = a^p / (a^p + b^p)."""


def _parts_of_norm(x: Any, y: Any, p: Any) -> tuple[Any, Any, Any]:
    """(largest, log a^p, log b^p) of x and y, one of them 1."""
    most = np.maximum(x, y)
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = [p * np.log(np.where(most > 0, v / most, 1.0)) for v in (x, y)]
    return most, *logs


def _norm(x: Any, y: Any, p: Any) -> Any:
    most, a, b = _parts_of_norm(x, y, p)
    return most * np.exp(np.logaddexp(a, b) / p)


def _norm_x(x: Any, y: Any, p: Any) -> Any:
    _, a, b = _parts_of_norm(x, y, p)
    return np.where(p > 1, np.exp((a - np.logaddexp(a, b)) * (1 - 1 / p)), 1.0)


def _norm_p(x: Any, y: Any, p: Any) -> Any:
    most, a, b = _parts_of_norm(x, y, p)
    total = np.logaddexp(a, b)
    with np.errstate(invalid="ignore"):
        mean = sum(np.where(v > -np.inf, np.exp(v - total) * v, 0.0) for v in (a, b))
    return most * np.exp(total / p) * (mean - total) / p**2


NUMERIC = {"softplus": _softplus, "norm": _norm, "norm_x": _norm_x, "norm_p": _norm_p}


def compiled(arguments: Sequence[sp.Symbol], expressions: Any, *, cse: bool = False) -> Callable[..., Any]:
    """A numpy function of the arguments."""
    return sp.lambdify(list(arguments), expressions, [NUMERIC, "numpy"], cse=cse)


def stable(expression: sp.Expr) -> sp.Expr:
    """The same number with every (1 + u^p)^q as exp(q softplus(p log u)), every (u^p + v^p)^(1/p) as norm(u, v, p).

    A break of width f is a power 1/f of compute: over twelve decades u^p overflows where its q-th power is harmless.
    """
    if expression.is_Pow and _is_norm(expression.base, expression.exp):
        roots = [
            sp.powdenest(sp.expand_power_base(a**expression.exp, force=True), force=True) for a in expression.base.args
        ]
        return norm(*roots, 1 / expression.exp)
    if expression.is_Pow and any(map(_can_overflow, sp.Mul.make_args(expression.base))):
        return sp.exp(expression.exp * log_of(expression.base))
    if not expression.args:
        return expression
    parts = [stable(a) for a in expression.args]
    return expression if all(a is b for a, b in zip(parts, expression.args, strict=True)) else expression.func(*parts)


def log_of(positive: sp.Expr) -> sp.Expr:
    """log of a positive expression: products become sums, log(1 + u^p) becomes softplus(p log u)."""
    if positive.is_Mul:
        return sp.Add(*map(log_of, positive.args))
    if isinstance(positive, sp.exp):
        return positive.args[0]
    if positive.is_Pow:
        return positive.exp * log_of(positive.base)
    if _can_overflow(positive):
        return softplus(log_of(positive - 1))
    return sp.log(positive)


def _can_overflow(factor: sp.Expr) -> bool:
    """1 + u^p with a symbol in p, or 1 + exp(w); or a power of one."""
    if factor.is_Pow:
        return _can_overflow(factor.base)
    if not (factor.is_Add and len(factor.args) == 2 and sp.S.One in factor.args):
        return False
    other = factor - 1
    return isinstance(other, sp.exp) or bool(other.is_Pow and other.exp.free_symbols)


def _is_norm(base: sp.Expr, root: sp.Expr) -> bool:
    """Two terms, each a product with a symbol to a power of 1 / root."""
    return base.is_Add and len(base.args) == 2 and all(
        any(f.is_Pow and (f.exp * root).is_number and f.exp.free_symbols for f in sp.Mul.make_args(term))
        for term in base.args
    )  # fmt: skip


def occurrences(expression: sp.Expr, symbol: sp.Symbol) -> int:
    return sum(1 for node in sp.preorder_traversal(expression) if node == symbol)


def undone(expression: sp.Expr, x: sp.Symbol, value: sp.Expr) -> sp.Expr | None:
    """x from expression(x) = value, taking off one operation after the other; None where x does not stand just once.

    Powers are undone to their positive root: the caller checks that the law really takes the value there.
    """
    if occurrences(expression, x) != 1:
        return None
    while expression != x:
        inner = next(a for a in expression.args if a.has(x))
        if expression.is_Add:
            value = value - (expression - inner)
        elif expression.is_Mul:
            value = value / (expression / inner)
        elif expression.is_Pow and inner == expression.base:
            value = value ** (1 / expression.exp)
        elif expression.is_Pow:
            value = sp.log(value) / sp.log(expression.base)
        elif isinstance(expression, sp.exp):
            value = sp.log(value)
        elif isinstance(expression, sp.log):
            value = sp.exp(value)
        else:
            return None
        expression = inner
    return value
