"""What is missing, half, no text or of another kind: one sentence that names it, the right code, nothing written."""

import json
import os
import shlex
import shutil
from pathlib import Path

import pytest

from scaling.registry import Ledger
from tests.predictions import REGISTER

PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes(range(256))
NO_TEXT = os.fsdecode(b"n\xff\xfe")  # a name that is not UTF-8
BROKEN = {
    "cut": lambda sound: sound.splitlines(keepends=True)[0],
    "torn": lambda sound: sound[:-5],
    "garbage": lambda sound: sound + b"garbage\n",
    "flip": lambda sound: sound.replace(b"big", b"bag", 1),
    "image": lambda sound: PNG,
}


@pytest.fixture
def files(type_, tmp_path):
    """A sound signed ledger `book`, its proof and head; broken ones; and files that are something else."""
    for name, data in {"x.png": PNG, "empty": b"", "x.pdf": b"%PDF-1.7\n" + PNG, "huge": b"9" * 10**5}.items():
        (tmp_path / name).write_bytes(data)
        (tmp_path / name).chmod(0o600)
    with open(tmp_path / "giant", "wb") as file:
        file.truncate(2**40)  # more than could be read
    (tmp_path / "dir").mkdir()
    assert type_("key new --ledger book")[0] == type_(REGISTER)[0] == 0
    (tmp_path / "head.txt").write_text(type_("ledger head --ledger book")[1])
    assert type_("prove latest -o p.json --ledger book")[0] == 0
    proof = json.loads((tmp_path / "p.json").read_text())
    (tmp_path / "half.json").write_bytes((tmp_path / "p.json").read_bytes()[:300])
    (tmp_path / "path.json").write_text(json.dumps(proof | {"entries": [proof["entries"][0] | {"path": 5}]}))
    (tmp_path / "none.json").write_text(json.dumps(proof | {"entries": []}))
    for name, spoil in BROKEN.items():
        shutil.copytree(tmp_path / "book", tmp_path / name)
        path = tmp_path / name / "entries.jsonl"
        path.write_bytes(spoil(path.read_bytes()))
    Ledger(tmp_path / "foreign").append("prediction", {"x": 1})  # a sound chain that says nothing
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "entries.jsonl").mkdir()
    return tmp_path


def contents(folder):
    """By name; of the giant its size alone."""
    return {
        path: path.stat().st_size if path.name == "giant" else path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def at(ledger):
    return REGISTER.replace("--ledger book", f"--ledger {ledger}")


RESOLVE = "resolve latest --value 2 --ledger book"
TYPED = [
    (1, "verify x.png", "x.png is not valid"),
    (1, "verify empty", "empty is not valid"),
    (1, "verify giant", "giant is larger than 256 MiB"),
    (1, "ledger check --consistent-with giant --ledger book", "giant is larger than 1 MiB"),
    (1, "ledger check --consistent-with dir --ledger book", "dir could not be read: Is a directory"),
    (1, "verify dir", "dir could not be read: Is a directory"),
    (1, "verify huge", "huge is not valid: integer of 100000 digits"),
    (1, "verify x.pdf", "x.pdf could not be read as a PDF"),
    (1, "verify half.json", "half.json is not valid: Unterminated string"),
    (1, "verify path.json", "path.json: not a proof: a path is a list"),
    (4, "verify none.json", "none.json: the proof does not hold the entry"),
    (1, ["verify", NO_TEXT], "could not be read: No such file"),
    (4, "verify --ledger cut", "of 2 entries, only 1 are here"),
    (4, "verify --ledger torn", "torn tail: entry 1 (line 2, byte "),
    (4, "verify --ledger garbage", "bad entry: entry 2 (line 3, byte "),
    (4, "verify --ledger image", "bad entry: entry 0 (line 1, byte 0)"),
    (4, "verify --ledger foreign", "bad entry: entry 0 (line 1, byte 0): not a prediction: v is missing"),
    (1, "verify --ledger kept", "entries.jsonl is not a plain file"),
    (1, "verify --ledger book --tsa-roots x.png", "no PEM certificates"),
    (1, "verify --ledger book --git x.png", "Not a directory"),
    (1, ["verify", "--replay-steps", "3", NO_TEXT, "--ledger", "book"], "is no trial"),
    (1, "verify --replay-steps 99999999999999999999 latest --ledger book", "does not state the target"),
    (1, REGISTER.replace("f.json", "x.png"), "x.png is not valid"),
    (1, REGISTER.replace("f.json", "p.json"), "p.json is not a file of forecasts"),
    (1, REGISTER.replace("f.json", "dir"), "dir: Is a directory"),
    (1, REGISTER + " --target x.png", "x.png is not valid"),
    (1, REGISTER + " --seed 99999999999999999999", "--seed 99999999999999999999 would not be kept"),
    (1, REGISTER.replace("2030-01-01", "20300101"), "'20300101' is not a date"),
    (1, REGISTER + " --key half.json", "half.json is open to others"),
    (1, REGISTER + " --key x.png", "it holds no private key"),
    (1, [word.replace("big", NO_TEXT).replace("book", "new") for word in shlex.split(REGISTER)], "non-UTF-8"),
    (4, at("garbage"), "entry 2 (line 3, byte "),
    (4, at("flip"), "entry 1 (line 2, byte "),
    (4, at("cut"), "the newest were cut off"),
    (4, at("image"), "entry 2 (line 3, byte 8)"),
    (1, at("x.png"), "x.png is not a folder"),
    (1, at("kept"), "not a plain file"),
    (1, RESOLVE.replace("latest", "ffffffff"), "is the hash of no entry"),
    (1, RESOLVE + " --value 1e999", "loss is inf"),
    (1, RESOLVE + " --n 99999999999999999999", "n is 1e+20"),
    (1, RESOLVE + " --se inf", "the standard error is inf"),
    (1, RESOLVE + " --evidence dir", "dir: Is a directory"),
    (1, RESOLVE + " --key empty", "it holds no private key"),
    (4, RESOLVE.replace("book", "cut"), "the newest were cut off"),
    (4, RESOLVE.replace("book", "garbage"), "entry 2 (line 3, byte "),
    (4, RESOLVE.replace("book", "foreign"), "entry 0 (line 1): not a prediction"),
    (1, "prove ffffffff --ledger book", "is the hash of no entry"),
    (1, ["prove", NO_TEXT, "--ledger", "book"], "is no entry hash"),
    (4, "prove latest --ledger torn", "the newest were cut off"),
    (4, "prove latest --ledger flip", "entry 1 (line 2, byte "),
    (4, "ledger head --ledger cut", "the newest were cut off"),
    (1, "ledger check --consistent-with x.png --ledger book", "x.png holds no head: it is not text"),
    (1, "ledger check --consistent-with huge --ledger book", "huge: not a checkpoint"),
    (4, "ledger check --consistent-with head.txt --ledger cut", "the newest were cut off"),
    (1, "key new --key k.pem --replaces x.png --ledger book", "it holds no private key"),
    (1, ["key", "new", "--key", "k.pem", "--name", NO_TEXT, "--ledger", "new"], "non-UTF-8"),
    (1, "key new --key k.pem --ledger x.png", "x.png is not a folder"),
    (1, "key show --key half.json", "open to others"),
    (1, "key revoke --reason ' ' --ledger book", "a revocation needs a reason"),
    (1, "key revoke ffffffff --lost --reason x --ledger book", "names no key"),
    (1, "ledger anchor --ots x.png --ledger book", "no OpenTimestamps proof"),
    (1, "ledger anchor --git dir/nowhere --ledger book", "No such file or directory"),
    (1, "ledger anchor --write-head nowhere/head --ledger book", "nowhere/head: No such file"),
    (1, ["amend", "latest", "--text", NO_TEXT, "--ledger", "book"], "non-UTF-8"),
]  # fmt: skip


def test_bad_input_is_one_sentence_and_nothing_is_written(files, type_):
    sound = contents(files)
    for code, line, says in TYPED:
        found, _, err = type_(line)
        assert found == code and says in err, (line, found, err)
        assert err.startswith("scaling: ") and err.count("\n") == 1, (line, err)
        now = contents(files)
        assert now == sound, (line, [str(p) for p in now if sound.get(p) != now[p]])
    assert Path("book").is_dir() and type_("verify --ledger book")[0] == 0
