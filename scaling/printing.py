"""Typst math from a sympy expression (LaTeX comes from sympy itself)."""

from __future__ import annotations

import sympy as sp
from sympy.printing.precedence import PRECEDENCE, precedence
from sympy.printing.str import StrPrinter


class _TypstPrinter(StrPrinter):
    def _print_Symbol(self, symbol: sp.Symbol) -> str:
        name, _, index = symbol.name.partition("_")
        # a name of several letters that typst does not know as a symbol stands upright, in quotes
        head = name if len(name) == 1 or name in _GREEK else f'"{name}"'
        return head + (f"_{index}" if len(index) == 1 else f'_"{index}"' if index else "")

    def _print_Pow(self, power: sp.Pow, rational: bool = False) -> str:
        if power.exp == -1:
            return f"(1)/({self._print(power.base)})"
        base = self.parenthesize(power.base, PRECEDENCE["Pow"])
        return f"{base}^({self._print(power.exp)})"

    def _print_Mul(self, product: sp.Mul) -> str:
        top, bottom, sign = [], [], ""
        for factor in product.as_ordered_factors():
            if factor == -1:
                sign = "-"
            elif factor.is_Pow and factor.exp == -1:
                bottom.append(factor.base)
            else:
                top.append(factor)
        if not bottom:
            return sign + (self._factors(top, precedence(product)) or "1")
        return f"{sign}({self._fraction(top, product)})/({self._fraction(bottom, product)})"

    def _fraction(self, factors: list[sp.Expr], product: sp.Mul) -> str:
        """One side of a fraction: its bar groups a single factor already."""
        return self._print(factors[0]) if len(factors) == 1 else self._factors(factors, precedence(product)) or "1"

    def _factors(self, factors: list[sp.Expr], level: int) -> str:
        return " ".join(self.parenthesize(f, level) for f in factors)

    def _print_Relational(self, equation: sp.Rel) -> str:
        return f"{self._print(equation.lhs)} = {self._print(equation.rhs)}"

    def _print_exp(self, call: sp.exp) -> str:
        return f"exp({self._print(call.args[0])})"

    def _print_log(self, call: sp.log) -> str:
        return f"log({self._print(call.args[0])})"


_GREEK = {"alpha", "beta", "gamma", "delta", "epsilon", "kappa", "lambda", "mu", "nu", "rho", "sigma", "tau", "theta"}


def typst(expression: sp.Expr) -> str:
    """The expression in typst's math syntax, without dollar signs."""
    return _TypstPrinter().doprint(expression)
