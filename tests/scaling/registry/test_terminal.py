"""What others wrote into a ledger drives no terminal and forges no line, whichever verb prints it."""

import json
import shlex

import pytest

from scaling.registry import Ledger
from scaling.registry.keys import Action, Statement
from scaling.registry.signing import SigningKey
from tests.predictions import REGISTER

ERASE = "bad\x1b[1A\x1b[2K\rgood"  # goes up a line, erases it, and writes over this one
EVIL = [ERASE, "\x9b2J", "\a\b\b\x7f", "\u202etxet", "x\u200b\u2066", "a\ngood: 1 entries\nb", "x\v\f\x85"]
SHOWN = (
    "verify --ledger book",
    "scoreboard book",
    "verify proof.json",
    "prove latest --ledger book -o again.json",
    "resolve latest --value 2 --ledger book",
    "key show --ledger book",
    "export latest --to metaculus --low 0 --high 4 --ledger book",
    "export latest --to osf --ledger book",
    "ledger head --ledger book",
    "amend latest --text x --ledger book",
)


@pytest.mark.parametrize("text", EVIL)
def test_no_verb_prints_what_a_terminal_obeys(type_, text):
    key = SigningKey.generate()
    kept = Ledger("book", key=key)
    kept.append("key", Statement(Action.NEW, key.public, name=text).body)
    kept.append("key", Statement(Action.REVOKE, key.public, reason=text).body)
    assert type_(["register", "f.json", "--title", f"big {text}", "--void", text, *_rest()])[0] == 0
    for words in (["amend", "latest", "--text", text], ["withdraw", "latest", "--reason", text]):
        assert type_([*words, "--ledger", "book"])[0] == 0
    assert type_("prove latest --ledger book -o proof.json")[0] == 0
    told = [type_(line) for line in SHOWN]
    for line, (code, out, err) in zip(SHOWN, told, strict=True):
        printed = set(out + err) - {"\n"}
        assert code in (0, 1) and all(map(str.isprintable, printed)), (line, printed)
        if not line.startswith("export latest --to osf"):  # Markdown, whose lines are its writer's
            assert not any(row.startswith("good: 1 entries") for row in (out + err).split("\n")), line
    for line in (SHOWN[0], SHOWN[1], SHOWN[2]):
        assert "WITHDRAWN in entry 4" in "".join(type_(line)[1:])


def test_json_says_it_as_it_stands(type_):
    assert type_(REGISTER)[0] == 0
    assert type_(["withdraw", "latest", "--reason", ERASE, "--ledger", "book"])[0] == 0
    (remarks,) = json.loads(type_("verify --ledger book --json")[1])["remarks"].values()
    assert remarks[0].endswith(ERASE)
    assert json.loads(type_("scoreboard book --json")[1])["predictions"][0]["remarks"] == remarks


def _rest():

    words = shlex.split(REGISTER)
    return words[words.index("--until") : words.index("--void")] + words[words.index("--void") + 2 :]
