"""What the numbers of a specification may be: one table by the name of the field, checked wherever one is made.

A specification may come from a file, and a trial takes hours: what cannot be trained or measured is refused before.
"""

from __future__ import annotations

import math
import operator
from dataclasses import fields
from typing import Any

from scaling.errors import InputError

SEED_LIMIT = 2**63
EXACT = 2**53  # beyond it a JSON number loses digits
NUMBERS = {"int": (int,), "float": (int, float), "float | None": (int, float, type(None))}
PAIR = "tuple[float, float]"
BELOW = {"<": operator.lt, "<=": operator.le}

# fields; low, how it bounds; how high bounds, high; and why, where the range does not say it
TABLE: tuple[tuple[str, float, str, str, float, str], ...] = (
    ("layers width heads ffn vocab outputs rank", 1, "<=", "<", math.inf, ""),
    ("prompt_tokens response_tokens steps batch prompts updates", 1, "<=", "<", math.inf, ""),
    ("group", 2, "<=", "<", math.inf, "a group of one has no advantage"),
    ("problems sequences", 2, "<=", "<", math.inf, "one has no standard error"),
    ("samples", 0, "<=", "<", math.inf, ""),
    ("lr rope_theta alpha temperature", 0, "<", "<", math.inf, ""),
    ("clip beta", 0, "<=", "<", math.inf, ""),
    ("clip_high", 0, "<", "<", math.inf, "or leave it out"),
    ("betas", 0, "<=", "<", 1, ""),
    ("warmup", 0, "<=", "<=", 1, "a share of the steps"),
    ("final", 0, "<=", "<=", 1, "a share of the peak rate"),
    ("resample_below", 0, "<", "<=", 1, "a pass rate"),
    ("instance", 0, "<=", "<", EXACT, ""),
    ("seed", 0, "<=", "<", SEED_LIMIT, ""),
)
RANGES = {name: row[1:] for row in TABLE for name in row[0].split()}


class Ranged:
    """A part of a specification that its numbers alone can make impossible."""

    def __post_init__(self) -> None:
        check_numbers(self)


def check_numbers(part: Any) -> None:
    """Every field that is declared a number, or yes and no, is one, and every number in its range."""
    for f in fields(part):
        name, value, declared = f.name, getattr(part, f.name), str(f.type)
        if declared == "bool" and not isinstance(value, bool):
            raise InputError(f"trial specification: {name} = {value!r:.40} is not true or false")
        if declared == PAIR:
            if not isinstance(value, tuple) or len(value) != 2 or not all(_is(v, "float") for v in value):
                raise InputError(f"trial specification: {name} = {value!r:.40} is not two numbers")
        elif declared not in NUMBERS:
            continue
        elif not _is(value, declared):
            raise InputError(f"trial specification: {name} = {value!r:.40} is not a number")
        for each in value if declared == PAIR else (value,):
            if name in RANGES and each is not None:
                _check_range(name, each)


def check_choice(name: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise InputError(f"{name} {value!r:.40} is unknown", f"known: {', '.join(c for c in choices if c)}")


def _is(value: Any, declared: str) -> bool:
    return isinstance(value, NUMBERS[declared]) and not isinstance(value, bool)


def _check_range(name: str, value: float) -> None:
    low, above, below, high, why = RANGES[name]
    if not (BELOW[above](low, value) and BELOW[below](value, high)):
        stated = f"{low} {above} {name} {below} {high}"
        raise InputError(f"trial specification: {name} = {value} is outside {stated}", why)
