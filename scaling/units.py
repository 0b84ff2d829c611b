"""Units of the quantities a forecast speaks of: parsing what people type, printing what a value deserves.

>>> parse_compute("3 PF-day")       # 2.592e20, in FLOP
>>> format_value(0.70312, 0.0123)   # '0.703 ± 0.012' (two digits of the uncertainty, as the PDG rounds)
"""

from __future__ import annotations

import math
import re

from scaling.errors import InputError

DAY_S = 86_400.0
FLOP_PER_UNIT = {
    "FLOP": 1.0,
    **{
        f"{prefix}FLOP": 10.0**power
        for prefix, power in zip(("k", "M", "G", "T", "P", "E", "Z", "Y"), range(3, 27, 3), strict=True)
    },
    "TF-day": 1e12 * DAY_S,
    "PF-day": 1e15 * DAY_S,
    "EF-day": 1e18 * DAY_S,
}
ALIASES = {
    "FLOPS": "FLOP",
    "FLOPs": "FLOP",
    "flop": "FLOP",
    "flops": "FLOP",
    "PFLOP-day": "PF-day",
    "PF-days": "PF-day",
    "PFLOP-days": "PF-day",
    "petaflop/s-day": "PF-day",
    "petaflop/s-days": "PF-day",
}

# What every known input column is counted in. A user's own column has the unit its header states in brackets.
UNITS = {
    "N": "parameters",
    "D": "tokens",
    "C": "FLOP",
    "C_pre": "FLOP",
    "C_rl": "FLOP",
    "C_total": "FLOP",
    "executed_flop": "FLOP",
    "tokens": "tokens",
    "rollouts": "completions",
    "steps": "steps",
    "device_s": "s",
    "wall_s": "s",
    "cost_usd": "USD",
}
# Prefixes that a header may give to N and D: N [M] is in millions of parameters.
COUNTS = {"k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
COMPUTE_COLUMNS = ("C", "C_pre", "C_rl", "C_total")

MOST_PLACES, LONG = 9, 1e6  # decimals that are printed; from where on numbers get three digits and an exponent

_QUANTITY = re.compile(r"\A\s*([0-9.+-]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z/_-]*)\s*\Z")


def flop_per(unit: str, *, where: str = "compute") -> float:
    name = ALIASES.get(unit, unit)
    if name not in FLOP_PER_UNIT:
        raise InputError(f"{where}: unit {unit!r} is not known", f"use one of {', '.join(FLOP_PER_UNIT)}")
    return FLOP_PER_UNIT[name]


def per_unit(column: str, unit: str, *, where: str) -> float | None:
    """What one `unit` of a column counts in its base unit; None for a column that may have any."""
    if column in COMPUTE_COLUMNS:
        return flop_per(unit, where=where)
    if column not in ("N", "D"):
        return None
    known = {UNITS[column]: 1.0, **COUNTS}
    if unit not in known:
        raise InputError(f"{where}: unit {unit!r} is not known", f"use one of {', '.join(known)}")
    return known[unit]


def parse_compute(text: str, *, where: str = "compute") -> float:
    """'1e23 FLOP', '3 PF-day', '2.5 EFLOP' -> FLOP. A number without a unit is refused."""
    match = _QUANTITY.match(text) if isinstance(text, str) else None
    if not match or not match[2]:
        raise InputError(
            f"{where} {text!r} has no unit"
            if match or not isinstance(text, str)
            else f"{where} {text!r} is not an amount of compute",
            "write for example '1e23 FLOP' or '3 PF-day'",
        )
    value = _number(match[1], where) * flop_per(match[2], where=where)
    if not (math.isfinite(value) and value > 0):
        raise InputError(f"{where} {text!r} is not a positive, finite amount of compute")
    return value


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{where}: {text!r} is not a number") from None


def format_compute(flop: float, digits: int = 2) -> str:
    """Three digits at most (`digits` behind the point): '3e+12 FLOP' prints as '3e12 FLOP'."""
    mantissa, exponent = f"{flop:.{digits}e}".split("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)} FLOP"


def differing(a: float, b: float) -> tuple[str, str]:
    """Two computes, with as many digits as it takes to tell them apart."""
    told = ((format_compute(a, digits), format_compute(b, digits)) for digits in range(2, 17))
    return next((pair for pair in told if pair[0] != pair[1]), (format_compute(a), format_compute(b)))


def decimals(uncertainty: float) -> int:
    """Digits behind the point that an uncertainty earns, by the PDG rule: three leading digits decide.

    100-354: two digits are kept; 355-949: one; 950-999: rounded up to 1000 and two are kept.
    Source: Particle Data Group, Review of Particle Physics, introduction, section 5.3.
    """
    exponent = math.floor(math.log10(uncertainty))
    leading = uncertainty / 10.0**exponent
    digits = 2 if leading < 3.55 else 1
    if leading >= 9.5:
        exponent, digits = exponent + 1, 2
    return max(0, digits - 1 - exponent)


def format_value(value: float, uncertainty: float | None = None, *, digits: int = 3) -> str:
    """A value with its uncertainty, both rounded to what the uncertainty earns; without one, `digits` digits."""
    if not math.isfinite(value):
        return str(value)
    if uncertainty is None or not math.isfinite(uncertainty) or uncertainty <= 0:
        return f"{value:.{digits}g}"
    places = decimals(uncertainty)
    if max(abs(value), uncertainty) >= LONG or places > MOST_PLACES:
        return f"{value:.{digits}g} ± {uncertainty:.2g}"
    return f"{value:.{places}f} ± {uncertainty:.{places}f}"


def format_interval(low: float, high: float, middle: float | None = None) -> tuple[str, ...]:
    """(middle,) low, high with as many decimals as the interval's half-width earns; more than MOST_PLACES nobody reads:
    three digits then."""
    width = (high - low) / 2
    places = decimals(width) if math.isfinite(width) and width > 0 else 3
    numbers = (low, high) if middle is None else (middle, low, high)
    fixed = places <= MOST_PLACES
    return tuple(f"{n:.{places}f}" if fixed and math.isfinite(n) and abs(n) < LONG else f"{n:.3g}" for n in numbers)


def format_fixed(value: float, places: int, sign: str = "", unit: str = "") -> str:
    """A number with so many decimals, `sign` "+" or not; nothing for what is not finite."""
    if not math.isfinite(value):
        return ""
    return f"{value:{sign}.{places}f}{unit}" if abs(value) < LONG else f"{value:{sign}.3g}{unit}"


def format_percent(share: float, sign: str = "") -> str:
    """'-3.2 %' with `sign` "+"."""
    return format_fixed(100 * share, 1, sign, " %")


def format_duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s" if seconds >= 9.95 else f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{seconds / 60:.1f} min"
    return f"{seconds / 3600:.1f} h"
