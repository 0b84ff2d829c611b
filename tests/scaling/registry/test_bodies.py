"""Sound chains whose entries say nothing, or nonsense: each is named with its place, none ends in a traceback."""

import copy
import json

import pytest

from scaling.compute import inputs_of
from scaling.errors import InputError
from scaling.predictions import Prediction
from scaling.registry import Ledger, Reason, book, remarks, standing
from scaling.registry.embargo import Secret
from scaling.registry.entries import Kind
from scaling.registry.keys import Action, Statement
from scaling.registry.signing import SigningKey
from tests.predictions import COMPLETE, ask, forecast, specs

GOOD = {"value": 0.5, "protocol": "p" * 16}
NAME = "pretrain.loss.all"


@pytest.fixture
def ledger(tmp_path):
    return Ledger(tmp_path / "book")


@pytest.fixture
def told(ledger):
    return book.register(ledger, [ask()], [forecast()], **COMPLETE)


def changed(body, place, value):
    """The body with one thing in it another; no value: without it."""
    found = copy.deepcopy(dict(body))
    inner = found
    for step in place[:-1]:
        inner = inner[step]
    if value is KeyError:
        del inner[place[-1]]
    else:
        inner[place[-1]] = value
    return found


PREDICTIONS = [
    (("v",), "3"),
    (("title",), 7),
    (("title",), KeyError),
    (("until",), 20300101),
    (("until",), "2030-1-1"),
    (("claims",), "none"),
    (("claims",), []),
    (("claims", 0), 5),
    (("claims", 0, "quantiles", 3), "0.5"),
    (("claims", 0, "quantiles"), None),
    (("claims", 0, "target"), "1e12"),
    (("claims", 0, "target"), True),
    (("claims", 0, "law"), None),
    (("claims", 0, "subject"), "loss"),
    (("claims", 0, "subject", "metric"), 3),
    (("claims", 0, "grade"), "SPLENDID"),
    (("claims", 0, "baselines"), [1]),
    (("claims", 0, "baselines", "last value"), None),
    (("claims", 0, "warnings"), [7]),
    (("claims", 0, "threshold"), [0.5]),
    (("target",), "the run"),
    (("target",), {"specs": 3}),
    (("target",), {"specs": {"pretrain": {"seed": 1}}}),
    (("provenance",), []),
    (("run_state",), 0),
    (("assumptions",), 3),
    (("voids",), [None]),
    (("gates",), [3]),
    (("tails",), {}),
    (("more",), 1),
]


@pytest.mark.parametrize(("place", "value"), PREDICTIONS, ids=lambda v: json.dumps(v) if v is not KeyError else "gone")
def test_a_prediction_that_is_none(ledger, told, place, value):
    body = changed({**told.body, "gates": []}, place, value)
    ledger.append("prediction", body)
    assert ledger.verify().ok
    (problem,) = standing.verify(ledger).problems
    offset = len(told.line) + 1
    assert (problem.reason, problem.index, problem.line, problem.offset) == (Reason.BAD_ENTRY, 1, 2, offset)
    secret = Secret.of(body, {})
    until = body["until"] if isinstance(body["until"], str) and len(body["until"]) == 10 else "2030-01-01"
    sealed = ledger.append("commit", {"commitment": secret.commitment, "until": until})
    if until == body["until"]:
        ledger.append("reveal", {"commit": sealed.hash, "salt": secret.salt, "opened": body, "blobs": body["blobs"]})
        assert [p.index for p in standing.verify(ledger).problems] == [1, 3]


OUTCOMES = [
    {},
    {"values": {NAME: GOOD | {"value": "0.5"}}},
    {"values": {NAME: GOOD | {"value": None}}},
    {"values": {NAME: GOOD | {"value": True}}},
    {"values": {NAME: GOOD | {"value": [1]}}},
    {"values": {NAME: GOOD | {"n": -5}}},
    {"values": {NAME: GOOD | {"n": "many"}}},
    {"values": {NAME: GOOD | {"n": 1.5}}},
    {"values": {NAME: GOOD | {"se": "small"}}},
    {"values": {NAME: GOOD | {"protocol": 3}}},
    {"values": {NAME: GOOD | {"protocol": "another"}}},
    {"values": {NAME: GOOD | {"value": -1}}},
    {"values": {NAME: 0.5}},
    {"values": {"other": GOOD}},
    {"values": [GOOD]},
    {"values": {NAME: GOOD}, "trials": 3},
    {"values": {NAME: GOOD}, "trials": [3]},
    {"values": {NAME: GOOD}, "bound": "yes"},
    {"values": {NAME: GOOD}, "evidence": []},
    {"values": {NAME: GOOD}, "note": None},
    {"values": {NAME: GOOD}, "more": 1},
]


@pytest.mark.parametrize("body", OUTCOMES, ids=json.dumps)
def test_an_outcome_that_is_none(ledger, told, type_, body):
    ledger.append("outcome", {"prediction": told.hash, "trials": [], **body})
    assert ledger.verify().ok
    (problem,) = standing.verify(ledger).problems
    assert (problem.reason, problem.index, problem.offset) == (Reason.BAD_ENTRY, 1, len(told.line) + 1)
    for line in ("verify --ledger book", "scoreboard book", "scoreboard book --json"):
        code, _, err = type_(line)
        assert code == 4 and f"entry 1 (line 2, byte {len(told.line) + 1})" in err, (line, err)


OTHERS = [
    ("start", {}),
    ("start", {"trials": [1]}),
    ("start", {"trials": {}}),
    ("start", {"trials": {"pretrain": 1}}),
    ("start", {"trials": {"pretrain": "a-s1"}, "recipe_digests": ["x"]}),
    ("start", {"trials": {"pretrain": "a-s1"}, "again": "1"}),
    ("amend", {"text": ["a"]}),
    ("amend", {"text": None}),
    ("withdraw", {"reason": {"a": 1}}),
    ("key", {"x": 1}),
]


@pytest.mark.parametrize(("kind", "body"), OTHERS, ids=json.dumps)
def test_another_entry_that_says_nonsense(ledger, told, type_, kind, body):
    ledger.append(kind, body if kind == "key" else {"prediction": told.hash, **body})
    (problem,) = standing.verify(ledger).problems
    assert (problem.reason, problem.index) == (Reason.BAD_ENTRY, 1)
    code, _, err = type_("verify --ledger book")
    assert code == 4 and f"entry 1 (line 2, byte {len(told.line) + 1}): not a" in err, err


@pytest.mark.parametrize(("name", "value"), [("name", ["a"]), ("reason", {"a": 1}), ("lost", 1)])
def test_a_statement_about_a_key_whose_words_are_none(name, value):
    body = Statement(Action.NEW, SigningKey.generate().public).body
    with pytest.raises(InputError, match=f"malformed: {name} is .* which is no (text|truth)"):
        Statement.of(Kind.KEY, {**body, name: value})


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("assumptions",), 3, "assumptions is 3, which is no list"),
        (("voids",), "none", "voids is 'none', which is no list"),
        (("voids",), [1], "voids is (1,), which is no list of texts"),
        (("target",), [1], "target is [1], which is no object"),
        (("gates",), 3, "gates is 3, which is no list"),
        (("claims",), "none", "claims is 'none', which is no list"),
        (("claims", 0), 5, "a claim is 5, which is no object"),
        (("claims", 0, "subject"), "loss", "subject is 'loss', which is no object"),
        (("claims", 0, "quantiles"), None, "quantiles is None, which is no list"),
        (("claims", 0, "warnings"), [7], "warnings is (7,), which is no list of texts"),
        (("title",), KeyError, "title is missing"),
        (("more",), 1, "'more' is no field of it"),
    ],
)
def test_what_is_wrong_is_said_in_words_of_the_entry(told, place, value, says):
    with pytest.raises(InputError) as raised:
        Prediction.from_body(changed({**told.body, "gates": []}, place, value))
    assert says in raised.value.message


@pytest.mark.parametrize("change", [{"commitment": 3}, {"commitment": "x"}, {"until": 20300101}, {"until": None}])
def test_a_commit_that_is_none(ledger, change):
    ledger.append("commit", {"commitment": "a" * 64, "until": "2030-01-01", **change})
    assert [p.index for p in standing.verify(ledger).problems] == [0]


def test_what_the_program_itself_writes_is_read(ledger, told, tmp_path):
    """Of every kind, with specifications, thresholds and under embargo."""
    ledger.append("outcome", {"prediction": told.hash, "trials": [], "values": {NAME: GOOD}})  # the rest as usual
    cost = inputs_of(specs()["pretrain"])["C_pre"]
    whole = {**COMPLETE, "target": {"specs": {k: v.to_json() for k, v in specs().items()}}}
    sealed = book.register(ledger, [ask()], [forecast(middle=2.0, at=cost)], **whole, embargo=True)
    remarks.reveal(ledger, sealed.hash)
    book.start(ledger, sealed, standing.find(ledger, sealed.hash).prediction)
    book.resolve(ledger, sealed, 2.0)
    remarks.amend(ledger, told.hash, "a remark")
    assert standing.verify(ledger).problems == ()
