"""The one codec: strict JSON in, canonical JSON (RFC 8785) out, SHA-256 digests over it.

Strict reading refuses what plain JSON readers let pass: duplicate keys, NaN and infinities (also `1e999`), lone
surrogates, over-deep or over-long input. Integers beyond 2^53 are read as floats: RFC 8785 writes 1e16 .. 1e20 as
digits without a point, and a FLOP count must survive the round trip.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rfc8785

from scaling.errors import InputError

MAX_BYTES = 256 * 2**20
MAX_DEPTH = 64
EXACT_INTEGER = 2**53


def parse(text: str | bytes, *, what: str = "JSON") -> Any:
    """Read one JSON value strictly. Raises `InputError` with the reason; `what` names the source in the message."""
    if len(text) > MAX_BYTES:
        raise InputError(f"{what} is larger than {MAX_BYTES // 2**20} MiB")
    from_bytes = isinstance(text, bytes)
    try:
        if isinstance(text, bytes):
            text = text.decode("utf-8")
        value = _STRICT.decode(text)
        if text.count("{") + text.count("[") > MAX_DEPTH or "\\u" in text or not from_bytes:
            _check_depth_and_text(value)
    except RecursionError:
        raise InputError(f"{what} is nested deeper than {MAX_DEPTH} levels") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{what} is not valid: {error}") from None
    return value


def canonical(value: Any) -> bytes:
    """RFC 8785 bytes of a JSON-able value (dataclasses, mappings, tuples and numpy scalars are unwrapped first)."""
    try:
        return rfc8785.dumps(plain(value))
    except (rfc8785.CanonicalizationError, ValueError, OverflowError, RecursionError) as error:
        raise InputError(f"value cannot be written as canonical JSON: {error}") from None


def is_canonical(text: bytes, value: Any) -> bool:
    """Whether `text`, which `parse` read as `value`, is `canonical(value)`: the same answer, several times sooner.

    JSON writes everything but numbers and the order of rare keys as RFC 8785 does: numbers are compared as they were
    read, and stand in the rewritten text as strings behind a mark.
    """
    spelled = text.decode("utf-8")
    if not spelled.isascii() and (_MARK in spelled or max(spelled) > "\uffff"):
        return canonical(value) == text
    try:
        again = _SORTED.encode(_MARKING.decode(spelled))
    except _OtherSpelling:
        return False
    return (again.replace(f'"{_MARK}', _MARK).replace(f'{_MARK}"', "").replace(_MARK, "")) == spelled


def as_canonical(text: bytes) -> Any:
    """What `parse` reads, of canonical bytes only; a doubt is a `Doubtful` error, and for `parse` and `is_canonical`.

    Most texts are written again by the C encoder of `json` just as they came. It differs from RFC 8785 in numbers that
    Python spells otherwise: where the text may hold one of these, or what no canonical text holds, that is a doubt.
    """
    spelled = text.decode("utf-8", "replace")
    if spelled[:1] not in ("{", "["):  # a number by itself
        raise Doubtful
    if any(map(spelled.__contains__, _DOUBTFUL)) or not (spelled.isascii() or max(spelled) <= "\uffff"):
        raise Doubtful
    try:
        value, _ = _PLAIN.raw_decode(spelled)
        if _SORTED.encode(value) != spelled:
            raise Doubtful
        if spelled.count("{") + spelled.count("[") >= MAX_DEPTH:
            _check_depth_and_text(value, 1)  # it stands within another
        return _LONG.raw_decode(spelled)[0] if _LONG_INTEGER.search(spelled) else value
    except (ValueError, RecursionError):
        raise Doubtful from None


class Doubtful(Exception):
    """A text that is perhaps not canonical."""


# Integral and small numbers that Python would spell so, what only Python reads, escapes, bytes that are not UTF-8.
_DOUBTFUL = (".0,", ".0}", ".0]", "e+", "e-0", "NaN", "Infinity", "\\u", "\ufffd")
_LONG_INTEGER = re.compile(r"[:,\[]-?[0-9]{16}")  # 2^53 and more: read as a float


def _long(text: str) -> int | float:
    if len(text) >= 16 and _number(float(text)).decode() != text:
        raise Doubtful
    return _integer(text)


_MARK = "\ue000"  # of private use: where a text has it, the long way is taken


class _OtherSpelling(Exception):
    """A number that is not written as RFC 8785 writes it."""


def _marked(text: str) -> str:
    short = text.isdigit() and len(text) < 16  # JSON has no leading zeros
    if not short and _number(float(text)).decode() != text:
        raise _OtherSpelling
    return f"{_MARK}{text}{_MARK}"


def canonical_column(values: Sequence[Any]) -> bytes:
    """`canonical` of a list that may be long: texts, truths and gaps alone JSON writes in just that way."""
    kinds = set(map(type, values))
    if kinds == {float}:
        return b"[" + b",".join(map(_number, values)) + b"]"
    if kinds <= {str, bool, type(None)}:
        try:
            return json.dumps(list(values), ensure_ascii=False, separators=(",", ":")).encode()
        except UnicodeEncodeError as error:
            raise InputError(f"value cannot be written as canonical JSON: {error}") from None
    return canonical(values)


def _number(value: float) -> bytes:
    """`canonical` of a float. Python writes the same shortest digits as RFC 8785 does; where the point stands, or how
    the exponent is written, differs in some ranges: those are left to the library, or mended."""
    size = abs(value)
    if 1e-4 <= size < 1e16 and not value.is_integer():
        return repr(value).encode()
    if 1e16 <= size < 1e21:  # all its digits, then zeros
        digits, _, exponent = repr(value).replace(".", "").partition("e+")
        return digits.ljust(int(exponent) + 1 + (value < 0), "0").encode()
    if 0 < size < 1e-6:
        return repr(value).replace("e-0", "e-").encode()
    return canonical(value)


def assembled(members: Mapping[str, bytes]) -> bytes:
    """`canonical` of a mapping whose values are canonical already."""
    ordered = sorted(members, key=lambda name: name.encode("utf-16-be"))  # the order of RFC 8785
    return b"{" + b",".join(canonical(name) + b":" + members[name] for name in ordered) + b"}"


def canonical_rows(columns: Mapping[str, Sequence[Any]]) -> list[bytes]:
    """`canonical` of every row of a table given by columns, None left out. By column, because a table may be long."""
    parts = []
    for name in sorted(columns, key=lambda name: name.encode("utf-16-be")):  # the order of RFC 8785
        key, there = canonical(name) + b":", [v is not None for v in columns[name]]
        texts = iter(_canonical_each([v for v in columns[name] if v is not None]))
        parts.append([key + next(texts) if known else b"" for known in there])
    return [b"{" + b",".join(filter(None, row)) + b"}" for row in zip(*parts, strict=True)]


def _canonical_each(values: list[Any]) -> list[bytes]:
    """`canonical` of every value. Of one simple kind, each is written once; numbers in one piece, taken apart at commas
    that no number holds."""
    kinds = set(map(type, values))
    if len(kinds) != 1 or not kinds <= {str, float, int, bool}:
        return [canonical(v) for v in values]
    once = list(dict.fromkeys(values))
    written = [canonical(v) for v in once] if kinds == {str} else canonical(once)[1:-1].split(b",")
    texts = dict(zip(once, written, strict=True))
    return [texts[v] for v in values]


def digest(value: Any) -> str:
    """SHA-256 of the canonical bytes, lower-case hex."""
    return sha256(canonical(value))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def read_bytes(path: str | Path, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a file that somebody hands over; of one that is too long, no more are read than show that."""
    try:
        with open(path, "rb") as handle:
            too_long = os.fstat(handle.fileno()).st_size > limit
            found = b"" if too_long else handle.read(limit + 1)
    except OSError as error:
        raise InputError(f"{path} could not be read: {error.strerror or error}") from error
    if too_long or len(found) > limit:  # a pipe has no size
        raise InputError(f"{path} is larger than {limit / 2**20:g} MiB")
    return found


def plain(value: Any) -> Any:
    """JSON types only: dict, list, str, bool, None, int (|i| < 2^53) and float."""
    if isinstance(value, Mapping):
        named = {str(k): plain(v) for k, v in value.items()}
        if len(named) < len(value):
            raise InputError(f"two keys of a mapping are written alike: {', '.join(map(repr, value))}")
        return named
    if hasattr(value, "to_json"):
        return plain(value.to_json())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if type(value) is list and set(map(type, value)) <= {str, float}:  # a long column, at once
        return value
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in (sorted(value, key=str) if isinstance(value, (set, frozenset)) else value)]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return plain(value.tolist())
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= EXACT_INTEGER:
        return float(value)
    if isinstance(value, str):  # also enums that are strings
        return str(value)
    return value


def write_atomic(path: str | Path, data: bytes | str, *, durable: bool = True, entry: bool = True) -> None:
    """Write a whole file or nothing: temporary file, fsync, rename, fsync of the folder.

    Without `durable` nothing is synced: whole after any kill of the process, but a power cut may take it. For what a
    machine started anew does not need. Without `entry` the folder is left to the caller to sync: for a file that counts
    only together with one written after it.
    """
    path = Path(path)
    data = data.encode() if isinstance(data, str) else data
    temporary = path.with_name(f".{path.name[:64]}.{secrets.token_hex(8)}")
    try:
        with open(temporary, "xb") as out:
            out.write(data)
            if durable:
                out.flush()
                os.fsync(out.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno is not None:
            error.filename = str(path)  # the name the caller knows
        raise
    if durable and entry:
        sync_folder(path.parent)


def sync_folder(folder: str | Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"key {key!r} stands twice")
        found[key] = value
    return found


def _integer(text: str) -> int | float:
    if len(text) > 40:
        raise ValueError(f"integer of {len(text)} digits")
    value = int(text)
    return value if abs(value) < EXACT_INTEGER else float(value)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is not a finite number")
    return value


def _check_depth_and_text(value: Any, depth: int = 0) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, str):
        value.encode("utf-8")  # a lone surrogate has no bytes
    elif isinstance(value, dict):
        for key, item in value.items():
            key.encode("utf-8")
            _check_depth_and_text(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_depth_and_text(item, depth + 1)


# Made once: of a ledger's many lines each would make its own.
_STRICT = json.JSONDecoder(
    object_pairs_hook=_no_duplicates, parse_int=_integer, parse_float=_finite, parse_constant=_finite
)
_PLAIN = json.JSONDecoder()
_LONG = json.JSONDecoder(parse_int=_long)
_MARKING = json.JSONDecoder(parse_int=_marked, parse_float=_marked)
_SORTED = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))
