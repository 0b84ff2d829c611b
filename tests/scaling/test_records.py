"""The codec: what strict reading refuses, what canonical writing keeps, whole files or none."""

import dataclasses
import enum
import json
import math
import os
import random
import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scaling import records
from scaling.errors import InputError

FLOATS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | FLOATS | st.integers(-(2**80), 2**80) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("bits", "text"),
    [  # RFC 8785 appendix B
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("4430000000000000", "295147905179352830000"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("44b52d02c7e14af6", "1e+23"),
        ("444b1ae4d6e2ef4e", "999999999999999700000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("41b3de4355555557", "333333333.33333343"),
        ("becbf647612f3696", "-0.0000033333333333333333"),
    ],
)
def test_numbers_are_written_as_the_rfc_shows(bits, text):
    (value,) = struct.unpack(">d", bytes.fromhex(bits))
    assert records.canonical(value).decode() == text
    assert records.parse(text) == value


def test_the_example_of_the_rfc():
    text = r"""{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
               "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}"""
    assert records.canonical(records.parse(text)).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_keys_are_sorted_by_utf16_units():
    keys = ["€", "\r", "\ufb33", "1", "😀", "\x80", "ö"]
    written = json.loads(records.canonical(dict.fromkeys(keys, 0)))
    assert list(written) == ["\r", "1", "\x80", "ö", "€", "😀", "\ufb33"]


@pytest.mark.parametrize("exponent", range(3, 31))
def test_flop_counts_survive(exponent):
    for value in (float(f"1e{exponent}"), float(f"-2.5e{exponent}"), 10**exponent, 10**exponent + 1):
        written = records.canonical({"flop": value})
        assert records.parse(written)["flop"] == float(value)
        assert records.canonical(records.parse(written)) == written


@pytest.mark.parametrize("value", [2**53 - 1, 2**53, 2**53 + 1, 10**16, 10**20, 10**21, -(2**53), 2**63 - 1])
def test_integers_at_the_border(value):
    read = records.parse(str(value))
    assert read == float(value)
    assert type(read) is (int if abs(value) < 2**53 else float)
    assert records.parse(records.canonical(value)) == read


@given(VALUES)
def test_writing_is_a_fixed_point_of_reading(value):
    written = records.canonical(value)
    assert records.canonical(records.parse(written)) == written
    assert records.digest(value) == records.sha256(written)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a":1,"a":2}', "key 'a' stands twice"),
        ('{"a":{"b":1,"b":1}}', "'b' stands twice"),
        ("1e999", "not a finite number"),
        ("-1e999", "not a finite"),
        ("NaN", "not a finite"),
        ("[Infinity]", "not a finite"),
        ("-Infinity", "not a finite"),
        ('"\\ud800"', "surrogates"),
        ('{"\\udfff":1}', "surrogates"),
        ("9" * 41, "integer of 41 digits"),
        ("9" * 100_000, "integer of"),
        ("[" * 66 + "]" * 66, "nested deeper than 64"),
        ("[" * 200_000, "nested deeper"),
        ('{"a":' * 100_000, "nested deeper"),
        ("", "not valid"),
        ("{} {}", "not valid"),
        ("{'a':1}", "not valid"),
        ("[1,]", "not valid"),
        ("01", "not valid"),
        ("\ufeff{}", "not valid"),
        (b"\xff", "not valid"),
        (b"\xed\xa0\x80", "not valid"),
        ("\x00", "not valid"),
        ('"\n"', "not valid"),
    ],
)
def test_strict_reading_refuses(text, reason):
    with pytest.raises(InputError, match=reason) as caught:
        records.parse(text, what="line 7")
    assert str(caught.value).startswith("line 7 ")


def test_long_input_is_refused_before_it_is_read(monkeypatch):
    monkeypatch.setattr(records, "MAX_BYTES", 2**20)
    with pytest.raises(InputError, match="larger than 1 MiB"):
        records.parse(b" " * (2**20 + 1))


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_any_input_is_read_or_refused(text):
    try:
        value = records.parse(text)
    except InputError:
        return
    assert records.parse(records.canonical(value)) == value


@given(VALUES, st.data())
def test_a_flipped_byte_is_refused_or_another_value(value, data):
    written = bytearray(records.canonical(value))
    position = data.draw(st.integers(0, len(written) - 1))
    written[position] ^= 1 << data.draw(st.integers(0, 7))
    try:
        read = records.parse(bytes(written))
    except InputError:
        return
    same = records.canonical(read) == bytes(written)
    assert not same or records.digest(read) != records.digest(value)


class Colour(enum.StrEnum):
    RED = "red"


@dataclasses.dataclass(frozen=True)
class Point:
    x: float
    colour: Colour
    more: tuple = ()


class Own:
    def to_json(self):
        return {"own": np.float64(0.5)}


def test_plain_unwraps_what_programs_hold():
    value = {"p": Point(1.0, Colour.RED, (np.int64(3), Own())), "set": {3, 1, 2}, 5: np.arange(3), "b": np.bool_(True)}
    assert records.canonical(value) == (
        b'{"5":[0,1,2],"b":true,"p":{"colour":"red","more":[3,{"own":0.5}],"x":1},"set":[1,2,3]}'
    )


@pytest.mark.parametrize("value", [math.nan, math.inf, np.float32("nan"), b"bytes", "\ud800", [object()], 1j, 10**400])
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises(InputError, match="canonical JSON"):
        records.canonical(value)


def test_what_is_nested_without_end_is_refused():
    value = []
    value.append(value)
    with pytest.raises(InputError, match="canonical JSON"):
        records.canonical(value)


@given(st.dictionaries(st.text(), FLOATS, min_size=2), st.randoms())
def test_a_digest_knows_no_order_of_keys(value, chance):
    items = list(value.items())
    chance.shuffle(items)
    assert records.digest(dict(items)) == records.digest(value)


@given(
    st.lists(st.text() | st.sampled_from(['","', 'x",', '"', "\\", ""]), min_size=1), st.randoms(use_true_random=False)
)
@example(['x",', "y"], random.Random(0))
def test_rows_by_column_are_rows_written_one_by_one(words, chance):
    numbers = [chance.choice([0.0, -0.0, 1e21, 1e-7, -3.5, 1e16]) for _ in words]
    mixed = [chance.choice([None, 1, True, 1.0, "1", [1]]) for _ in words]
    table = {"word": words, "z": numbers, "flag": [n > 0 for n in numbers], "\ufb33": mixed, "\U0001f600": mixed}
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    known = [{k: v for k, v in row.items() if v is not None} for row in rows]
    assert records.canonical_rows(table) == [records.canonical(row) for row in known]


def test_file_digest(tmp_path):
    (tmp_path / "f").write_bytes(b"abc" * 100_000)
    assert records.file_digest(tmp_path / "f") == records.sha256(b"abc" * 100_000)
    assert records.sha256(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("name", ["fsync", "replace"])
def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch, name):
    path = tmp_path / "result.json"
    records.write_atomic(path, "old ä")
    with monkeypatch.context() as patch:

        def full(*arguments):
            raise OSError(28, "No space left on device")

        patch.setattr(os, name, full)
        with pytest.raises(OSError, match="No space"):
            records.write_atomic(path, b"new")
    assert path.read_text() == "old ä"
    assert list(tmp_path.iterdir()) == [path]
    records.write_atomic(path, b"new")
    assert path.read_bytes() == b"new"


@given(st.lists(FLOATS | st.floats(1e-8, 1e-3) | st.floats(-1e22, 1e22), min_size=1))
@example([2.0**53, -(2.0**53) - 2, 1e16, -1.5e16, 1e20, 999999999999999900000.0, 1e21, -1e21])
def test_a_column_of_numbers_is_written_as_the_library_writes_it(values):
    assert records.canonical_column(values) == records.canonical(values)


@given(st.lists(st.none() | st.booleans() | st.text(st.characters(exclude_categories=["Cs"]))))
def test_a_column_of_texts_is_written_as_the_library_writes_it(values):
    assert records.canonical_column(values) == records.canonical(values)


NUMBERS = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**60), 2**60)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=6) | st.sampled_from(["\ue000", "1", "\U0001f600"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=8,
)


@given(JSON, st.data())
def test_the_quick_checks_of_canonical_text_are_the_slow_one(value, data):
    """On canonical text, on what plain JSON writers make of the value, and on canonical text with a byte changed."""
    text = records.canonical(value)
    place = data.draw(st.integers(0, len(text)))
    others = [
        json.dumps(value).encode(),
        json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(),
        text[:place] + data.draw(st.sampled_from([b"0", b" ", b"-", b".", b"e", b"1", b"\\"])) + text[place:],
        text[:place] + text[place + 1 :],
    ]
    for attempt in (text, *others):
        try:
            quick = [records.as_canonical(attempt)]
        except records.Doubtful:
            quick = []
        try:
            read = records.parse(attempt)
        except InputError:
            assert not quick, attempt
            continue
        assert records.is_canonical(attempt, read) == (records.canonical(read) == attempt), attempt
        assert not quick or (repr(quick[0]), records.canonical(read)) == (repr(read), attempt), attempt


@pytest.mark.parametrize(
    "text",
    [
        *(
            "1",
            "1.0",
            "1e999",
            "",
            "[1 ]",
            "[1.0]",
            '{"a":1.0,"b":2}',
            "[-0.0]",
            "[-0]",
            "[1e999]",
            "[1e+16]",
            "[1e16]",
        ),
        *("[1.5e+18]", "[1e-05]", "[1e-7]", "[NaN]", "[Infinity]", "[10000000000000001]", "[9007199254740993]"),
        *('{"a":9007199254740993}', '{"a":1,"a":1}', '{"b":1,"a":1}', '["\\u00e9"]', '["\\/"]', "[" + "9" * 5000 + "]"),
        *("[" * 66 + "]" * 66, "[" * 10**5, '{"\U0001f600":1,"\ufb33":2}', b"\xff", b'["\xed\xa0\x80"]'),
    ],
)
def test_what_is_not_canonical_is_doubted(text):
    with pytest.raises(records.Doubtful):
        records.as_canonical(text if isinstance(text, bytes) else text.encode())


@pytest.mark.parametrize(
    "text", ["[0.5,-3,1e-10,-2.5]", '{"C":1500000000000000000,"a":[123456789012345,1000000000000000]}', '["ö\u2028"]',
             "[9007199254740992,-100000000000000000000]", "[[[]]]"]
)  # fmt: skip
def test_usual_canonical_texts_are_read_at_once(text):
    assert repr(records.as_canonical(text.encode())) == repr(records.parse(text))
