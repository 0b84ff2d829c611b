"""The scoreboard counts every prediction, keeps apart what must be kept apart, and states errors that are right."""

import itertools
import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from told import UNTIL, forecast, predicted, resolved, told

from scaling.__main__ import main
from scaling.fitted import LEVELS, Grade
from scaling.predictions import FINISHED
from scaling.records import canonical, parse
from scaling.registry import Kind, Ledger, book, remarks
from scaling.registry.keys import Action, Statement
from scaling.registry.signing import SigningKey
from scaling.scoreboard import EARNED, LATE, UNEARNED, Mean, scoreboard
from scaling.scoreboard_text import board_json, board_text
from scaling.scores import QuantileDistribution
from scaling.scoring import HIT_LEVELS
from tests.predictions import COMPLETE, ask
from tests.predictions import forecast as complete


@pytest.fixture
def full(tmp_path):
    """One of each kind that could be hidden."""
    ledger = Ledger(tmp_path / "ledger")
    told(ledger, 0.505)
    told(ledger, 0.7)  # far outside
    told(ledger, 0.9, grade=Grade.UNEARNED)
    told(ledger, 0.5, run_state=FINISHED)
    told(ledger, 0.501, bound=False)
    told(ledger, None)
    started = told(ledger, None)
    ledger.append(Kind.START, {"prediction": started.hash, "trials": {"pretrain": "mine-s1"}})
    gone = told(ledger, None)
    remarks.withdraw(ledger, gone.hash, "a slip")
    ledger.append(Kind.COMMIT, {"commitment": "c" * 64, "until": UNTIL, "v": 1})
    return ledger


def test_every_prediction_is_listed_and_counted(full):
    before, after = (scoreboard([full], today=day) for day in ("2029-12-31", "2030-01-02"))
    assert len(before.rows) == 9
    assert before.counts == {"open": 1, "resolved": 5, "sealed": 1, "started": 1, "withdrawn": 1}
    assert after.counts == {
        "expired": 1, "expired, sealed": 1, "expired, started": 1, "resolved": 5, "withdrawn": 1
    }  # fmt: skip
    groups = {g.name: g for g in before.groups}
    assert {name: g.claims for name, g in groups.items()} == {EARNED: 3, UNEARNED: 1, LATE: 1}
    assert groups[EARNED].unbound == 1
    ninety = {c.level: c for c in groups[EARNED].calibration}[0.9]
    assert (ninety.hits, ninety.n, ninety.error) == (2, 3, pytest.approx(math.sqrt(0.09 / 3)))
    text = board_text(before)
    for words in ("5 of 9 predictions resolved", "a slip", "with other seeds was already finished",
                  "are not bound to the ledger entry", "under embargo", "UNEARNED", "LATE", "2 of 3"):  # fmt: skip
        assert words in text
    found = parse(canonical(board_json(before)))
    assert sum(len(p["scores"]) for p in found["predictions"]) == 5
    assert {p["scores"][0]["group"] for p in found["predictions"] if p["scores"]} == {EARNED, UNEARNED, LATE}


def test_a_withdrawn_prediction_with_an_outcome_is_still_scored(tmp_path):
    ledger = Ledger(tmp_path)
    receipt = told(ledger, 0.7)
    ledger.append(Kind.WITHDRAW, {"prediction": receipt.hash, "reason": "it was bad"})
    board = scoreboard([ledger])
    assert board.groups[0].claims == 1 and "withdrawn" in board.rows[0].state
    assert "it was bad" in board_text(board)


def test_an_outcome_that_cannot_be_scored_is_shown(tmp_path):
    ledger = Ledger(tmp_path)
    receipt = told(ledger, None)
    body = {"prediction": receipt.hash, "values": {"pretrain.loss.all": {"value": 0.5, "protocol": "another"}},
            "evidence": {}, "trials": [], "bound": False, "note": "", "v": 1}  # fmt: skip
    ledger.append(Kind.OUTCOME, body)
    board = scoreboard([ledger])
    assert board.rows[0].state == "not scorable" and not board.groups
    assert "made for protocol" in board_text(board)


def test_a_sealed_deadline_that_is_no_date_has_passed(tmp_path):
    ledger = Ledger(tmp_path)
    for until in ("20300101", "2030-W01-1", UNTIL):
        ledger.append(Kind.COMMIT, {"commitment": "c" * 64, "until": until, "v": 1})
    states = [row.state for row in scoreboard([ledger], today="2026-12-31").rows]
    assert states == ["expired, sealed", "expired, sealed", "sealed"]


def test_a_copy_of_a_ledger_counts_once_and_two_ledgers_add_up(full, tmp_path):
    other = Ledger(tmp_path / "other")
    told(other, 0.5)
    assert len(scoreboard([full, Ledger(full.folder), other]).rows) == 10


def test_a_copy_without_the_bad_outcome_hides_nothing(tmp_path):
    """The attack: a copy from before the outcome is named first, or alone with a fork that has a better one."""
    ledger = Ledger(tmp_path / "A")
    receipt = told(ledger, None)
    shutil.copytree(tmp_path / "A", tmp_path / "B")
    shutil.copytree(tmp_path / "A", tmp_path / "C")
    older, fork = Ledger(tmp_path / "B"), Ledger(tmp_path / "C")
    for one, value in ((ledger, 9.0), (fork, 0.5)):
        resolved(one, receipt, {receipt.body["claims"][0]["id"]: value})
    alone = scoreboard([ledger])
    for among in itertools.permutations([ledger, older]):
        (row,) = (board := scoreboard(among)).rows
        assert (row.state, row.hits, board.groups) == ("resolved", "0 of 1", alone.groups)
        (says,) = [r for r in row.remarks if "disagree" in r]
        assert says.endswith(f"stands in {ledger.folder}, not in {older.folder}") and "outcome in entry 1" in says
    for among in itertools.permutations([ledger, older, fork]):
        (row,) = (board := scoreboard(among)).rows
        assert (row.state, row.hits, board.groups[0].scores) == ("resolved", "0 of 1", alone.groups[0].scores)
        assert sum("stands in" in r for r in row.remarks) == 2
        assert any("do not agree on the outcome" in r and "scores worst" in r for r in row.remarks)
    assert [r for r in scoreboard([ledger, Ledger(ledger.folder)]).rows[0].remarks if "disagree" in r] == []


def test_a_withdrawal_or_a_reveal_in_one_copy_counts_in_all(tmp_path):
    ledger = Ledger(tmp_path / "A" / "ledger")
    hidden = book.register(ledger, ask(), complete(), **COMPLETE, embargo=True)
    receipt = told(ledger, None)
    shutil.copytree(tmp_path / "A" / "ledger", tmp_path / "B")
    remarks.reveal(ledger, hidden.hash)
    remarks.withdraw(ledger, receipt.hash, "a slip")
    for among in itertools.permutations([ledger, Ledger(tmp_path / "B")]):
        board = scoreboard(among)
        assert board.counts == {"open": 1, "withdrawn": 1}
        assert "a slip" in board_text(board) and "reveal in entry 2" in board_text(board)


def test_an_unsigned_outcome_in_a_ledger_with_keys_is_said_in_json_too(tmp_path, capsys):
    """Also after the last key was revoked: whoever can write the file is then nobody in particular."""
    key = SigningKey.generate()
    folder = tmp_path / "ledger"
    signing = Ledger(folder, key=key)
    before = told(Ledger(folder), None)
    signing.append(Kind.KEY, Statement(Action.NEW, key.public).body)
    signed, late = told(signing, 0.5), told(signing, None)
    resolved(Ledger(folder), before, {before.body["claims"][0]["id"]: 0.5})
    signing.append(Kind.KEY, Statement(Action.REVOKE, key.public).body)
    resolved(Ledger(folder), late, {late.body["claims"][0]["id"]: 0.5})
    assert main(["scoreboard", str(folder), "--json"]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    told_of = {row["hash"]: [r for r in row["remarks"] if "unsigned" in r] for row in found["predictions"]}
    assert told_of[signed.hash] == [] and [len(told_of[e.hash]) for e in (before, late)] == [1, 1]
    assert "outcome in entry 7 is unsigned, in a ledger that had a key from entry 1" in told_of[late.hash][0]
    (warnings,) = found["warnings"].values()
    assert any("unsigned in a ledger with keys: 2 entries (5, 7)" in w for w in warnings)
    assert "2 entries (5, 7)" in shown.err


def test_a_calibrated_forecaster_is_found_calibrated_and_an_overconfident_one_is_not(tmp_path):
    """180 outcomes drawn from the forecast's own distribution, and from one twice as wide."""
    rng = np.random.default_rng(5)
    for width, name in ((1.0, "honest"), (2.5, "bold")):
        ledger = Ledger(tmp_path / name)
        for _ in range(3):
            receipt = predicted(ledger, *(forecast(bucket=f"b{i}") for i in range(60)))
            names = [c["id"] for c in receipt.body["claims"]]
            resolved(ledger, receipt, {n: 0.5 + 0.01 * width * rng.standard_normal() for n in names})
        (group,) = scoreboard([ledger]).groups
        off = max(abs(c.rate - c.level) / c.error for c in group.calibration)
        spread = np.std(group.pit) / math.sqrt(180 * 0.1 * 0.9)
        assert (off < 3, spread < 1.7) == ((True, True) if name == "honest" else (False, False))
        assert (group.runs, group.claims, sum(group.pit)) == (3, 180, 180)


def test_scores_and_paired_differences_are_those_of_the_claims(tmp_path):
    ledger = Ledger(tmp_path)
    values = [0.49, 0.505, 0.52, 0.46]
    for value in values:
        told(ledger, value)
    (group,) = scoreboard([ledger]).groups
    (loss,) = group.scores
    d = QuantileDistribution(LEVELS, forecast().quantiles, 0.0, math.inf)
    ours = np.array([d.crps(v) for v in values])
    differences = np.array([abs(0.6 - v) for v in values]) - ours
    against = {c.baseline: c for c in loss.against}["last value"]
    assert loss.crps.value == pytest.approx(ours.mean())
    assert loss.crps.se == pytest.approx(ours.std(ddof=1) / 2)  # one claim a run: the usual standard error
    assert against.crps.value == pytest.approx(differences.mean())
    assert against.crps.se == pytest.approx(differences.std(ddof=1) / 2)
    assert against.better == 4
    assert loss.wis.value == pytest.approx(np.mean([d.wis(v) for v in values]))
    assert loss.unit == "nats per token"


def test_claims_of_one_run_are_one():
    """Five runs of twenty equal values: as sure as five values, not as a hundred; and of one run nothing is known."""
    values, runs = np.repeat([1.0, 2, 3, 4, 5], 20), np.repeat(list("abcde"), 20)
    assert Mean.of(values, runs).se == pytest.approx(np.std([1, 2, 3, 4, 5], ddof=1) / math.sqrt(5))
    assert Mean.of([1.0, 2.0], ["a", "a"]).se is None
    assert "one run" in str(Mean.of([1.0], ["a"]))


def test_metrics_of_other_units_are_not_averaged(tmp_path):
    ledger = Ledger(tmp_path)
    told(ledger, 0.5)
    told(ledger, 0.5, metric="pass_rate")
    (group,) = scoreboard([ledger]).groups
    assert [(m.metric, m.crps.n) for m in group.scores] == [("loss", 1), ("pass_rate", 1)]


def test_infinite_log_scores_are_counted_not_averaged(tmp_path):
    ledger = Ledger(tmp_path)
    made = replace(forecast(), draws_SG=np.full((50, 2), 0.5))
    resolved(ledger, predicted(ledger, made), {"pretrain.loss.all": 0.6})
    told(ledger, 0.5)
    board = scoreboard([ledger])
    (loss,) = board.groups[0].scores
    assert loss.no_density == 1 and loss.log_score is not None and loss.log_score.n == 1
    assert "1 infinite" in board_text(board)
    assert [p["scores"][0]["log_score"] is None for p in parse(canonical(board_json(board)))["predictions"]] == [
        True,
        False,
    ]


def test_the_levels_of_hits_are_those_scored(full):
    (first, *_) = scoreboard([full]).groups
    assert tuple(c.level for c in first.calibration) == HIT_LEVELS


def test_the_verb(full, tmp_path, capsys):
    assert main(["scoreboard", str(full.folder)]) == 0
    assert "5 of 9 predictions resolved" in capsys.readouterr().out
    assert main(["scoreboard", str(tmp_path), "--json"]) == 0  # a project folder that holds ledger/
    assert json.loads(capsys.readouterr().out)["counts"]["resolved"] == 5
    path = full.folder / "entries.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"n":64', b'"n":65', 1))
    assert main(["scoreboard", str(full.folder)]) == 4
    assert main(["scoreboard", str(tmp_path / "nowhere")]) == 1
    err = capsys.readouterr().err
    assert "entry 1" in err and "no ledger" in err


def test_an_empty_board_says_so(tmp_path):
    ledger = Ledger(tmp_path)
    ledger.append("amend", {"text": "nothing yet"})
    assert "0 of 0 predictions resolved" in board_text(scoreboard([ledger]))


def test_resolve_records_value_error_count_evidence_and_protocol(tmp_path, capsys):
    ledger = Ledger(tmp_path / "ledger")
    told(ledger, None)
    (tmp_path / "eval.json").write_text("{}")
    given = ["resolve", "latest", "--value", "0.505", "--n", "64", "--se", "0.01", "--ledger", str(ledger.folder)]
    evidence = ["--evidence", str(tmp_path / "eval.json")]
    assert main([*given, *evidence, "--protocol", "another"]) == 1
    assert "made for protocol" in capsys.readouterr().err and len(list(ledger)) == 1
    assert main([*given, *evidence, "--protocol", "p" * 16]) == 0
    body = list(ledger)[1].body
    assert body["values"]["pretrain.loss.all"] == {"value": 0.505, "se": 0.01, "n": 64, "protocol": "p" * 16}
    assert list(body["evidence"].values()) == ["44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"]
    (score,) = parse(canonical(board_json(scoreboard([ledger]))))["predictions"][0]["scores"]
    assert (score["n"], score["se"]) == (64, 0.01)
    assert main(["resolve", "latest", "--runs", "x", "--n", "3", "--ledger", str(ledger.folder)]) == 2
