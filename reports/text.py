"""Every text of a report is made here, once, for both renderers: numbers into words, and users' words made harmless.

A number is formatted when the document is built; HTML and PDF print the same string and never round again.
"""

from __future__ import annotations

import datetime as dt
import math
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

from scaling.errors import InputError
from scaling.units import decimals, format_compute, format_duration

MISSING = "–"
HIDDEN = {"Cc", "Cf", "Co", "Cn"}  # control, bidirectional and zero-width, private, unassigned
FORMULA_STARTS = ("=", "+", "-", "@")


def clean(value: Any, *, where: str = "text") -> str:
    """A user's text on one line, without characters that are invisible or steer what stands around them.

    A lone surrogate has no bytes in any encoding: it is refused, not repaired.
    """
    text = str(value)
    if text.isprintable():  # by Unicode's categories: none of HIDDEN, no surrogate, no space but the plain one
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            f"{where}: {ascii(text)[:60]} holds half a character (a lone surrogate)", "save the source as UTF-8"
        ) from None
    spaced = "".join(" " if c in "\t\n\r\v\f\x85\u2028\u2029" else c for c in text)
    return "".join(c for c in spaced if unicodedata.category(c) not in HIDDEN)


def clean_all(value: Any, where: str = "report") -> Any:
    """`clean` for every string inside lists and dicts."""
    if isinstance(value, dict):
        return {clean(k, where=where): clean_all(v, f"{where}.{k}") for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean_all(v, where) for v in value]
    return clean(value, where=where) if isinstance(value, str) else value


def shorten(text: str, length: int = 60) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def number(value: Any, digits: int = 3) -> str:
    """A bare number: `digits` significant digits, powers of ten as 2e9, integers below a million in full."""
    if missing(value):
        return MISSING
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return clean(value)
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    if float(value).is_integer() and abs(value) < 1e6:
        return str(int(value))
    text = f"{value:.{digits}g}"
    if "e" not in text:
        return f"{float(text):f}".rstrip("0").rstrip(".") if abs(value) < 1e-3 else text
    mantissa, exponent = text.split("e")
    return f"{mantissa}e{int(exponent)}"


def significant(value: Any, digits: int = 2) -> str:
    """Always `digits` significant digits, trailing zeros too, so that a column lines up: 0.10, -2.0."""
    if missing(value) or not math.isfinite(value) or not 1e-4 <= abs(value) < 1e5:
        return "0" if value == 0 else number(value, digits)
    return f"{value:.{max(0, digits - 1 - math.floor(math.log10(abs(value))))}f}"


def compute(flop: Any) -> str:
    return MISSING if missing(flop) else format_compute(float(flop))


def duration(seconds: Any) -> str:
    return MISSING if missing(seconds) else format_duration(float(seconds))


def times(factor: Any) -> str:
    """'6x', '100x', '1.5x'"""
    if missing(factor):
        return MISSING
    return f"{factor:.0f}x" if 9.95 <= factor < 1e6 else f"{number(float(factor), 2 if factor < 10 else 3)}x"


def percent(share: Any, *, signed: bool = False) -> str:
    """A share as percent: '+1.2 %' with `signed`."""
    if missing(share) or not math.isfinite(share):
        return MISSING
    text = f"{100 * share:{'+' if signed else ''}.{1 if abs(share) < 0.995 else 0}f} %"
    return text.replace("-0.0", "0.0").replace("+0.0", "0.0")


def whole(share: float) -> str:
    """A share in whole percent; what would print as 0 and is not, as '< 1 %'."""
    return "< 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"


def chance(probability: float) -> str:
    """A probability in whole percent; certainty is never printed."""
    if missing(probability):
        return MISSING
    return "> 99 %" if probability > 0.99 else "< 1 %" if probability < 0.01 else f"{100 * probability:.0f} %"


def moment(time: Any) -> str:
    """'2026-11-21 23:54:15 UTC' from an ISO time; another text stays as it is."""
    try:
        found = dt.datetime.fromisoformat(clean(time))
    except ValueError:
        return clean(time)
    found = found if found.tzinfo else found.replace(tzinfo=dt.UTC)
    return f"{found.astimezone(dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def places(low: float, high: float) -> int:
    """Decimals that an interval's half-width earns."""
    half = (high - low) / 2
    return min(decimals(half), 9) if math.isfinite(half) and half > 0 else 4


def fixed(value: Any, digits: int) -> str:
    """A value with a given number of decimals; very large or very small ones as powers of ten."""
    if missing(value):
        return MISSING
    if abs(value) >= 1e6 or (value and abs(value) < 10.0**-digits and digits >= 6):
        return number(float(value))
    return f"{value:.{digits}f}"


def span(low: float, high: float, digits: int) -> str:
    return f"[{fixed(low, digits)}, {fixed(high, digits)}]"


def counted(count: int, one: str, many: str = "") -> str:
    """'1 run', '3 runs'"""
    return f"{count} {one if count == 1 else many or one + 's'}"


def listed(names: Iterable[str], limit: int = 8) -> str:
    """'a, b and c'; beyond `limit` the rest is counted."""
    items = list(names)
    if len(items) > limit:
        items = [*items[: limit - 1], f"{len(items) - limit + 1} more"]
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def csv_text(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """RFC 4180 lines. A text that a spreadsheet would run as a formula gets an apostrophe in front."""
    return "".join(",".join(_csv_cell(c) for c in row) + "\r\n" for row in [headers, *rows])


def _csv_cell(value: Any) -> str:
    if missing(value):
        return ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    text = clean(value)
    if text.lstrip().startswith(FORMULA_STARTS):
        text = "'" + text
    return '"' + text.replace('"', '""') + '"' if any(c in text for c in ',"\n\r') else text
