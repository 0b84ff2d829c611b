"""The format of one line: hash rule, strict reading, links, seeds."""

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaling import records
from scaling.errors import InputError
from scaling.registry import Kind, seed_for
from scaling.registry.entries import GENESIS, _read_any, _read_usual, check_link, make_entry, read_entry

TIME = "2026-03-01T12:00:00.000000Z"
FIRST = make_entry(Kind.PREDICTION, {"compute_flop": 1e18, "name": "größer"}, "ab" * 16, TIME, None)
SECOND = make_entry(Kind.START, {"prediction": FIRST.hash}, "cd" * 16, TIME, FIRST)


def test_the_line_and_its_hash_by_hand():
    content = (
        '{"body":{"compute_flop":1000000000000000000,"name":"größer"},"kind":"prediction","nonce":"'
        + "ab" * 16
        + '","prev":"'
        + "0" * 64
        + '","seq":0,"time":"'
        + TIME
        + '","v":1}'
    )
    expected = hashlib.sha256(b"scaling-entry-v1\0" + content.encode()).hexdigest()
    assert FIRST.hash == expected
    assert list(json.loads(FIRST.line)) == ["body", "hash", "kind", "nonce", "prev", "seq", "sig", "time", "v"]
    assert FIRST.prev == GENESIS
    assert SECOND.prev == FIRST.hash
    assert read_entry(SECOND.line) == SECOND
    assert SECOND.prediction == FIRST.hash


def edited(**changes):
    record = {**json.loads(FIRST.line), **changes}
    content = {name: value for name, value in record.items() if name not in ("hash", "sig")}
    return records.canonical({**record, "hash": records.sha256(b"scaling-entry-v1\0" + records.canonical(content))})


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "not valid"),
        (b"[]", "not an entry"),
        (b"{}", "not an entry"),
        (b"\x00" * 40, "not valid"),
        (FIRST.line + b" ", "not canonical"),
        (FIRST.line + b"\r", "not canonical"),
        (b"\xff", "not valid"),
        (b"\xef\xbb\xbf" + FIRST.line, "not valid"),
        (FIRST.line.replace(b'"seq":0', b'"seq":0.0'), "not canonical"),
        (FIRST.line.replace(b'"seq":0', b'"seq":1'), "hash does not match"),
        (FIRST.line.replace(b"{", b'{"body":{},', 1), "stands twice"),
        (FIRST.line.replace(b"1000000000000000000", b"1e999"), "not a finite number"),
        (FIRST.line.replace(b"1000000000000000000", b"1e18"), "not canonical"),
        (FIRST.line.replace("ö".encode(), b"\\u00f6"), "not canonical"),
        (edited(v=2), "version 2"),
        (edited(v=True), "version True"),
        (edited(kind="bribe"), "unknown"),
        (edited(body=[]), "not an object"),
        (edited(seq=-1), "not a count"),
        (edited(seq=True), "not a count"),
        (edited(nonce="A" * 32), "nonce"),
        (edited(nonce=7), "nonce"),
        (edited(nonce="a\n"), "nonce"),
        (edited(prev=GENESIS[:-1]), "prev"),
        (edited(time="2026-03-01"), "time"),
        (edited(time=TIME + "\n"), "time"),
        (edited(time="2026-99-99T99:99:99.999999Z"), "no such day"),
        (edited(time="2026-02-29T12:00:00.000000Z"), "no such day"),
        (edited(time="2026-03-01T24:00:00.000000Z"), "no such day"),
        (edited(time="0000-03-01T12:00:00.000000Z"), "no such day"),
        (edited(sig=""), "signed"),
        (edited(sig="00" * 63), "signed"),
        (edited(sig="AB" * 64), "signed"),
        (edited(sig="00" * 64 + "\n"), "signed"),
        (edited(sig=["00" * 64]), "signed"),
        (edited(sig="A" * 86 + "=="), "signed"),  # base64 has several spellings of one signature, hex has one
        (edited(extra=1), "not an entry"),
        (FIRST.line.replace(FIRST.hash.encode(), FIRST.hash.upper().encode()), "hash"),
    ],
)
def test_strict_reading_names_the_reason(line, reason):
    with pytest.raises(InputError, match=reason):
        read_entry(line)


@given(
    st.dictionaries(st.text(max_size=3), st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)),
    st.sampled_from([None, lambda content: "0f" * 64]),
    st.data(),
)
def test_quick_reading_is_the_full_one(body, sign, data):
    """The same entry of a sound line; of a changed one the same, or nothing."""
    line = make_entry(Kind.AMEND, body, "n", TIME, FIRST, sign).line
    place, byte = data.draw(st.integers(0, len(line) - 1)), data.draw(st.sampled_from(b'0f"{},.-e\\ \n'))
    changed = line[:place] + bytes([byte]) + line[place + 1 :]
    for text in (line, changed, line[:place], line + line, line.replace(b'"seq":1', b'"seq":01')):
        try:
            full = _read_any(text)
        except InputError:
            assert _read_usual(text) is None
        else:
            quick = _read_usual(text) or full
            assert (quick, quick.body, quick.content) == (full, full.body, full.content)


def test_nesting_is_refused_at_the_same_depth_by_both():
    for depth in range(60, 68):
        body = {"a": 1.5}
        for _ in range(depth):
            body = {"a": body}
        content = b'{"body":' + json.dumps(body, separators=(",", ":")).encode()
        rest = b'"kind":"key","nonce":"n","prev":"%s","seq":0,%s"time":"%s","v":1}'
        digest = records.sha256(b"scaling-entry-v1\0" + content + b"," + rest % (b"0" * 64, b"", TIME.encode()))
        line = content + b',"hash":"%s",' % digest.encode() + rest % (b"0" * 64, b'"sig":null,', TIME.encode())
        if depth < 63:  # with the entry and the innermost body 64 levels
            assert _read_usual(line) == _read_any(line) == read_entry(line)
        else:
            assert _read_usual(line) is None
            with pytest.raises(InputError, match="deeper than 64"):
                read_entry(line)


def test_links():
    check_link(FIRST, None)
    check_link(SECOND, FIRST)
    for entry, previous, reason in (
        (SECOND, None, "seq is 1 where 0"),
        (FIRST, FIRST, "seq is 0 where 1"),
        (SECOND, read_entry(edited(body={})), "prev is not the hash"),
    ):
        with pytest.raises(InputError, match=reason):
            check_link(entry, previous)


def test_seeds_are_bound_to_the_entry_and_the_purpose():
    raw = hashlib.sha256(b"scaling-seed-v1\0" + bytes.fromhex(FIRST.hash) + b"init").digest()
    assert seed_for(FIRST.hash, "init") == int.from_bytes(raw[:8], "big") // 2
    seeds = {seed_for(hash, purpose) for hash in (FIRST.hash, SECOND.hash) for purpose in ("init", "data", "sampling")}
    assert len(seeds) == 6
    assert all(0 <= seed < 2**63 for seed in seeds)
    for wrong in ("", FIRST.hash[:16], FIRST.hash.upper(), FIRST.hash + "\n"):
        with pytest.raises(InputError, match="not an entry hash"):
            seed_for(wrong, "init")
