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


def compiled(arguments: Sequence[sp.Symbol], expressions: Any, *, cse: bool = False) -> Callable[..., Any]:
    """A numpy function of the arguments."""
    return sp.lambdify(list(arguments), expressions, [{"softplus": _softplus}, "numpy"], cse=cse)


def stable(expression: sp.Expr) -> sp.Expr:
    """The same number with every (1 + u^p)^q as exp(q softplus(p log u)).

    A break of width f is a power 1/f of compute: over twelve decades u^p overflows where its q-th power is harmless.
    """
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
