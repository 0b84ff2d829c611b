"""The format of one line: hash rule, strict reading, links, seeds."""

import hashlib
import json

import pytest

from scaling import records
from scaling.errors import InputError
from scaling.registry import Kind, seed_for
from scaling.registry.entries import GENESIS, check_link, make_entry, read_entry

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
