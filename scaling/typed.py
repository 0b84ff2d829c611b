"""Whether what was read is of the types that a dataclass states: a stored value is another program's word."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING
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


def check_names(kind: Any, body: Mapping[str, Any], what: str) -> None:
    """Refuse what lacks a field that the dataclass `kind` needs, or has one that it does not know."""
    for name, field in kind.__dataclass_fields__.items():
        if name not in body and field.default is MISSING and field.default_factory is MISSING:
            raise InputError(f"{what}: {name} is missing")
    if unknown := sorted(set(body) - set(kind.__dataclass_fields__)):
        raise InputError(f"{what}: {unknown[0]!r:.60} is no field of it")


def list_in(body: Mapping[str, Any], name: str, what: str) -> tuple[Any, ...]:
    """The list that stands there, as a tuple: a text is none, although it can be taken apart as one."""
    if name not in body:
        raise InputError(f"{what}: {name} is missing")
    if not isinstance(found := body[name], (list, tuple)):
        raise InputError(f"{what}: {name} is {found!r:.60}, which is no list")
    return tuple(found)


def object_in(body: Mapping[str, Any], name: str, what: str) -> Mapping[str, Any]:
    if name not in body:
        raise InputError(f"{what}: {name} is missing")
    return as_object(body[name], f"{what}: {name}")


def as_object(found: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(found, Mapping):
        raise InputError(f"{what} is {found!r:.60}, which is no object")
    return found


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
    origin, inner = get_origin(hint), get_args(hint)
    if hint in (None, NoneType):
        return "nothing"
    if origin in (Union, UnionType):
        return " or ".join(map(_named, inner))
    if origin is tuple:
        return f"list of {_named(inner[0])}s"
    if origin is not None:
        return "object" if inner[1] is Any else f"object of {_named(inner[1])}s"
    simple = {float: "number", int: "whole number", str: "text", bool: "truth"}
    return simple.get(hint) or str(hint.__name__).lower()
