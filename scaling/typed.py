"""Whether what was read is of the types that a dataclass states: a stored value is another program's word."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import lru_cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from scaling.errors import InputError


def check_types(value: Any, what: str) -> None:
    """Refuse a dataclass one of whose fields holds something else than it states, by the field's name."""
    kind: Any = type(value)
    for name, hint in _hints(kind).items():
        found = getattr(value, name)
        if not fits(found, hint):
            raise InputError(f"{what}: {name} is {found!r:.60}, which is no {_named(hint)}")


def fits(value: Any, hint: Any) -> bool:
    """Numbers are finite, and a truth is no number; JSON writes 1.0 as 1."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is tuple:
        return isinstance(value, tuple) and all(fits(v, inner[0]) for v in value)
    if origin is not None and issubclass(origin, Mapping):
        return isinstance(value, Mapping) and all(fits(k, inner[0]) and fits(v, inner[1]) for k, v in value.items())
    if hint is float:
        return type(value) is int or (isinstance(value, float) and math.isfinite(value))
    return type(value) is int if hint is int else isinstance(value, hint)


@lru_cache(maxsize=64)
def _hints(kind: Any) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _named(hint: Any) -> str:
    if hint in (None, NoneType):
        return "nothing"
    return (
        " or ".join(map(_named, get_args(hint)))
        if get_origin(hint) in (Union, UnionType)
        else (
            {float: "number", int: "whole number", str: "text", bool: "truth"}.get(hint) or str(hint).rpartition(".")[2]
        )
    )
