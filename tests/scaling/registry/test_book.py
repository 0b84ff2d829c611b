"""Predictions in a ledger: registered before, resolved once, scored from the ledger alone."""

import re

import numpy as np
import pytest
from told import traces

from scaling import labels
from scaling.__main__ import main
from scaling.compute import DEFINITION, inputs_of
from scaling.errors import InputError, LedgerError
from scaling.fitted import LEVELS, Grade
from scaling.gates import Gate
from scaling.observations import Observation
from scaling.predictions import Question
from scaling.records import canonical
from scaling.registry import Ledger, binding, book, entries, seed_for, standing
from scaling.results import TRACED, seal
from scaling.units import format_compute, parse_compute
from tests.predictions import COMPLETE, UNTIL, VOIDS, ask, forecast, specs

COST = inputs_of(specs()["pretrain"])["C_pre"]


def test_register_resolve_score(tmp_path):
    ledger = Ledger(tmp_path)
    receipt = book.register(ledger, ask("loss of the big run"), forecast(), **COMPLETE)
    book.resolve(ledger, receipt, 0.505, n=100)
    record = standing.find(ledger, receipt.hash[:8])
    (score,) = record.scores
    assert record.state == "resolved"
    assert score.hits["90"] and abs(score.error - (score.median / 0.505 - 1)) < 1e-12
    assert score.baselines == {"last value": pytest.approx(0.095)}
    assert score.crps < score.baselines["last value"]
    assert ledger.verify().ok
    stored = np.frombuffer(ledger.get_blob(record.prediction.claims[0].draws_blob), "<f8").reshape(400, 3)
    np.testing.assert_allclose(np.quantile(stored[:, 2], LEVELS), record.prediction.claims[0].quantiles, rtol=1e-12)


def test_what_was_known_of_the_gates_is_registered_once(tmp_path):
    before, after = Gate("a", None, 0.01, 0.02, "unsure", "pretrain"), Gate("b", False, 0.1, 0.02, "worse", "rl")
    ledger = Ledger(tmp_path)
    made = [forecast(stage=stage, grade=Grade.UNEARNED).with_gates([before, after]) for stage in ("pretrain", "rl")]
    entry = book.register(ledger, [ask("a"), ask("b")], made, **COMPLETE)
    assert ledger.verify().ok
    prediction = standing.find(ledger, entry.hash).prediction
    assert prediction.gates == (before, after)
    assert [c.warnings for c in prediction.claims] == [
        ("gate a: cannot tell",),
        ("gate a: cannot tell", after.warning),
    ]


def test_an_outcome_is_never_replaced(tmp_path):
    ledger = Ledger(tmp_path)
    receipt = book.register(ledger, ask("q"), forecast(), **COMPLETE)
    book.resolve(ledger, receipt, 0.5)
    with pytest.raises(InputError, match="already resolved"):
        book.resolve(ledger, receipt, 0.6)


def test_metric_and_protocol_must_be_the_registered_ones(tmp_path):
    ledger = Ledger(tmp_path)
    receipt = book.register(ledger, ask("q"), forecast("pass_rate"), **COMPLETE)
    with pytest.raises(InputError, match="protocol"):
        book.resolve(ledger, receipt, 0.5, protocol="another")
    with pytest.raises(InputError, match="percent"):
        book.resolve(ledger, receipt, 50.0)
    with pytest.raises(InputError, match="no value for claim"):
        book.resolve(ledger, receipt, {})
    assert sum(1 for _ in ledger) == 1


def test_a_refused_forecast_is_not_registered(tmp_path):
    with pytest.raises(InputError, match="refused"):
        book.register(Ledger(tmp_path), ask("q"), forecast(grade=Grade.REFUSED))


@pytest.mark.parametrize("until", ["soon", "2030-13-01", "01.02.2030"])
def test_deadline_is_a_date(until):
    with pytest.raises(InputError, match="YYYY-MM-DD"):
        Question("q", until)


def test_the_seed_comes_from_the_entry_and_not_the_other_way_round(tmp_path):
    target = {"specs": {k: v.to_json() for k, v in specs().items()}}
    ledger = Ledger(tmp_path)
    made = [book.register(ledger, ask(t), forecast(at=COST), **COMPLETE | {"target": target}) for t in ("one", "two")]
    first, second = (binding.target_trials(e) for e in made)
    assert first[0].seed == seed_for(made[0].hash, "pretrain") != second[0].seed
    assert first[1].parent == first[0]
    assert first[0].recipe_digest == specs()["pretrain"].recipe_digest
    assert first[1].recipe_digest == specs()["rl"].recipe_digest
    assert first[1].id != second[1].id


def test_resolving_from_a_folder_of_trials_takes_only_the_bound_run(tmp_path):
    ledger = Ledger(tmp_path / "ledger")
    target = {"specs": {k: v.to_json() for k, v in specs().items()}}
    made = [forecast(at=COST), forecast("pass_rate", "rl", at=COST)]
    receipt = book.register(
        ledger,
        [ask("a"), ask("b")],
        made,
        **COMPLETE | {"target": target},
    )
    base, rl = binding.target_trials(receipt)
    write_run(tmp_path / "runs", base.with_seed(7), "loss", 0.9)
    with pytest.raises(InputError, match="train it first"):
        book.resolve_from_runs(ledger, receipt, tmp_path / "runs")
    write_run(tmp_path / "runs", base, "loss", 0.49)
    write_run(tmp_path / "runs", rl, "pass_rate", 0.51)
    book.resolve_from_runs(ledger, receipt, tmp_path / "runs")
    record = standing.find(ledger, receipt.hash)
    assert record.resolution.bound
    assert {k: v.value for k, v in record.resolution.values.items()} == {
        "pretrain.loss.all": 0.49,
        "rl.pass_rate.all": 0.51,
    }
    files = {f"{spec.id}/{name}.jsonl" for spec in (base, rl) for name in ("observations", "trace")}
    assert set(record.resolution.evidence) == files


@pytest.mark.parametrize(
    ("name", "keep", "says"),
    [
        ("trace.jsonl", 1, r"trace\.jsonl lacks step 2 of 10: it ends at step 1"),
        ("trace.jsonl", 9, "lacks step 10 of 10"),
        ("steps.jsonl", 1, r"steps\.jsonl lacks step 10 of 10: it ends at step 1"),
        ("steps.jsonl", 0, "it ends at step 0"),
    ],
)
def test_a_trace_or_log_that_ends_too_early_is_refused(tmp_path, name, keep, says):
    """The attack: the one row that a GPU's tolerance lets through, and none of those that it does not."""
    ledger = Ledger(tmp_path / "ledger")
    receipt = bound(ledger)
    base, _ = binding.target_trials(receipt)
    for spec in binding.target_trials(receipt):
        write_run(tmp_path / "runs", spec, "loss" if spec == base else "pass_rate", 0.5)
    path = tmp_path / "runs" / base.id / name
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:keep]))
    with pytest.raises(InputError, match=says):
        book.resolve_from_runs(ledger, receipt, tmp_path / "runs")
    path.unlink()
    if name == "steps.jsonl":
        with pytest.raises(InputError, match=r"steps\.jsonl"):
            book.resolve_from_runs(ledger, receipt, tmp_path / "runs")
    else:
        book.resolve_from_runs(ledger, receipt, tmp_path / "runs")
        assert not standing.find(ledger, receipt.hash).resolution.bound


def write_run(runs, spec, metric, value):
    folder = runs / spec.id
    folder.mkdir(parents=True)
    row = Observation(
        f"{spec.id}-{metric}",
        spec.id,
        spec.base.id,
        spec.stage,
        metric,
        "p" * 16,
        value,
        {"C_pre": 1e12},
        se=0.01,
        se_kind="problems",
        compute_definition=DEFINITION,
    )
    (folder / "observations.jsonl").write_bytes(row.line())
    rows = [b'{"step":%d}\n' % step for step in range(1, spec.steps + 1)]
    (folder / "steps.jsonl").write_bytes(rows[0] + rows[-1])
    (folder / "trace.jsonl").write_bytes(b"".join(rows[:TRACED]))
    (folder / "result.json").write_bytes(canonical(seal({"v": 1, "state": "COMPLETE"})))


def test_latest_is_the_newest_prediction(tmp_path):
    ledger = Ledger(tmp_path)
    book.register(ledger, ask("one"), forecast(), **COMPLETE)
    second = book.register(ledger, ask("two"), forecast(), **COMPLETE)
    assert standing.find(ledger, "latest").entry.hash == second.hash


def test_a_deadline_in_the_past_and_no_forecast_are_refused(tmp_path):
    with pytest.raises(InputError, match="not in the future"):
        book.register(Ledger(tmp_path), Question("q", "2020-01-01"), forecast())
    with pytest.raises(InputError, match="no forecast"):
        book.register(Ledger(tmp_path), [], [])


@pytest.mark.parametrize("target", [[], {}, {"specs": {}}, {"specs": {"pretrain": {"width": "x"}}}])
def test_a_malformed_target_is_refused(target):
    with pytest.raises(InputError):
        binding.target_of(target, where="target.json")


def test_run_state_sees_a_run_of_the_recipe_under_any_seed(tmp_path):
    target = specs()
    assert binding.run_state(tmp_path, target) == "not started"
    folder = tmp_path / "x"
    folder.mkdir()
    (folder / "spec.json").write_bytes(canonical(target["pretrain"].with_seed(99).to_json()))
    assert binding.run_state(tmp_path, target) == "started"
    (folder / "result.json").write_text("{}")
    assert binding.run_state(tmp_path, target) == "finished"


def test_entries_gone_while_heads_remain_is_a_broken_ledger(tmp_path):
    ledger = Ledger(tmp_path)
    book.register(ledger, ask("q"), forecast(), **COMPLETE)
    ledger.remember()
    (tmp_path / "entries.jsonl").unlink()
    with pytest.raises(LedgerError, match="gone"):
        Ledger(tmp_path, create=False)


def test_questions_about_one_run_are_one_entry_scored_together(tmp_path):
    ledger = Ledger(tmp_path)
    made = [forecast(), forecast("pass_rate", "rl"), forecast("neg_log_pass", "rl")]
    asked = [Question(f.subject.label, UNTIL, 0.5, VOIDS) for f in made]
    receipt = book.register(ledger, asked, made, **COMPLETE)
    record = standing.find(ledger, receipt.hash)
    assert record.inside == {} and [c.threshold for c in record.prediction.claims] == [0.5, 0.5, 0.5]
    values = {c.id: book.Measured(0.5, protocol="p" * 16) for c in record.prediction.claims}
    with pytest.raises(InputError, match=r"no value for claim rl\.neg_log_pass"):
        book.resolve(ledger, receipt, dict(list(values.items())[:2]))
    values["rl.pass_rate.all"] = book.Measured(0.9, protocol="p" * 16)
    book.resolve(ledger, receipt, values)
    assert standing.find(ledger, receipt.hash).inside == dict.fromkeys(("50", "80", "90", "95"), (2, 3))


def test_questions_about_two_runs_or_about_another_than_the_specified_one_are_refused(tmp_path):
    ledger, asked = Ledger(tmp_path), [ask("a"), ask("b")]
    with pytest.raises(InputError, match="one prediction is about one run"):
        book.register(ledger, asked, [forecast(), forecast("neg_log_pass", at=2e12)], **COMPLETE)
    target = {"target": {"specs": {"pretrain": specs()["pretrain"].to_json()}}}
    with pytest.raises(InputError, match="the target costs"):
        book.register(ledger, asked[0], forecast(), **COMPLETE | target)
    rounded = parse_compute(format_compute(COST))  # as it is printed: what is asked for by hand
    assert rounded != COST
    with pytest.raises(InputError, match="the target costs") as raised:
        book.register(ledger, asked[0], forecast(at=rounded), **COMPLETE | target)
    assert len(set(re.findall(r"(\S+) FLOP", raised.value.message))) == 2  # refused as others, written as others
    with pytest.raises(InputError, match="describes no rl run"):
        book.register(ledger, asked[0], forecast(stage="rl", at=COST), **COMPLETE | target)
    assert not (tmp_path / "entries.jsonl").exists()


def bound(ledger):
    target = {"specs": {k: v.to_json() for k, v in specs().items()}}
    return book.register(ledger, ask("q"), forecast(at=COST), **COMPLETE | {"target": target})


def test_the_body_says_what_run_it_is_about_with_units(tmp_path):
    target = bound(Ledger(tmp_path)).body["target"]
    assert target["compute"] == [{"stage": "pretrain", "axis": "C_pre", "value": COST, "unit": "FLOP"}]
    assert target["model"] == {"N": inputs_of(specs()["rl"])["N"], "unit": "parameters"}
    assert target["data"]["unit"] == "tokens" and target["samples"] == 0 and "teacher forcing" in target["decoding"]


def test_a_claim_to_be_bound_is_believed_only_of_the_trials_that_the_hash_gives(tmp_path):
    ledger = Ledger(tmp_path)
    receipt = bound(ledger)
    with pytest.raises(InputError, match="are not the run bound to"):
        book.resolve(ledger, receipt, 0.5, trials=["mine-s1"], bound=True)
    body = book.Resolution(
        receipt.hash, {"pretrain.loss.all": book.Measured(0.5, protocol="p" * 16)}, trials=("mine-s1",), bound=True
    ).body
    ledger.append("outcome", body)  # past the book
    record = standing.find(ledger, receipt.hash)
    assert not record.resolution.bound and labels.UNBOUND in record.labels


def test_every_start_anew_is_an_entry_and_a_run_without_an_outcome_is_shown(tmp_path):
    ledger = Ledger(tmp_path)
    receipt = bound(ledger)
    for again, expected in ((False, 1), (False, 1), (True, 2), (True, 3)):
        book.start(ledger, receipt, again=again)
        assert len(standing.find(ledger, receipt.hash).starts) == expected
    record = standing.find(ledger, receipt.hash)
    assert record.state == "started" and [e.body.get("again") for e in record.starts] == [None, 1, 2]
    assert record.labels == [
        "The run was begun 3 times: each start is an entry.",
        "The run was started and its outcome is not entered.",
        labels.NO_CLOCK,
    ]
    resolve_bound(ledger, receipt)
    assert standing.find(ledger, receipt.hash).labels == [
        "The run was begun 3 times: each start is an entry.",
        labels.NO_CLOCK,
    ]


def resolve_bound(ledger, receipt):
    trials = binding.bound_ids(receipt)
    return book.resolve(ledger, receipt, 0.5, trials=trials, bound=True, evidence=traces(trials))


def test_an_outcome_of_a_bound_run_that_was_never_started_is_labelled(tmp_path):
    ledger = Ledger(tmp_path)
    receipt = bound(ledger)
    resolve_bound(ledger, receipt)
    assert standing.find(ledger, receipt.hash).labels == [labels.NO_START, labels.NO_CLOCK]


def test_bound_by_assertion_with_no_run_no_evidence_and_a_start_after_the_outcome(tmp_path, capsys):
    """The attack: the trials that the hash gives are named, and a start is entered once the outcome stands."""
    ledger = Ledger(tmp_path / "ledger")
    receipt = bound(ledger)
    trials = binding.bound_ids(receipt)
    for evidence in ({}, {"eval.json": "a" * 64}, {f"{trials[0]}/trace.jsonl": "a" * 64}):  # of RL none
        with pytest.raises(InputError, match=r"the evidence names no \S+/trace\.jsonl"):
            book.resolve(ledger, receipt, 0.5, trials=trials, bound=True, evidence=evidence)
    measured = {"pretrain.loss.all": book.Measured(0.5, protocol="p" * 16)}
    ledger.append("outcome", book.Resolution(receipt.hash, measured, trials=trials, bound=True).body)  # past the book
    book.start(ledger, receipt)
    record = standing.find(ledger, receipt.hash)
    assert not record.resolution.bound and labels.UNBOUND in record.labels
    assert main(["verify", "--folder", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "not bound" in shown.out and labels.UNBOUND in shown.err


def test_only_a_start_of_the_bound_run_before_the_outcome_is_one(tmp_path, capsys):
    """With traces of some run named, a start after the outcome, or of other trials, stands for nothing."""
    ledger = Ledger(tmp_path / "ledger")
    receipt = bound(ledger)
    ledger.append("start", {"prediction": receipt.hash, "trials": {"pretrain": "mine-s1"}})
    ledger.append("start", {"prediction": receipt.hash, "trials": {"rl": "mine-s1"}})
    resolve_bound(ledger, receipt)
    book.start(ledger, receipt)
    assert labels.NO_START in standing.find(ledger, receipt.hash).labels
    assert main(["verify", "--folder", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "bound (stated; verify --replay-steps checks)" in shown.out and labels.NO_START in shown.err
    other = bound(ledger)
    book.start(ledger, other)
    resolve_bound(ledger, other)
    assert labels.NO_START not in standing.find(ledger, other.hash).labels


def test_an_outcome_after_the_deadline_is_labelled(tmp_path, monkeypatch):
    """Entered in time it is not; the deadline's own day counts as in time."""
    ledger = Ledger(tmp_path)
    for day, late in (("2029-12-31", False), (UNTIL, False), ("2030-01-02", True)):
        receipt = book.register(ledger, ask(), forecast(), **COMPLETE)
        with monkeypatch.context() as clock:
            clock.setattr(entries, "utc_now", lambda day=day: f"{day}T12:00:00.000000Z")
            book.resolve(ledger, receipt, 0.5)
        said = f"The outcome was entered on {day}, after the deadline {UNTIL}."
        assert (said in standing.find(ledger, receipt.hash).labels) == late


def test_a_second_prediction_after_the_first_ones_run_is_late(tmp_path):
    """The attack: predict, run, resolve, remove the runs, and predict the same recipe again with what came out."""
    ledger = Ledger(tmp_path)
    first = bound(ledger)
    assert bound(ledger).body["run_state"] == "not started"  # nothing was run yet
    book.start(ledger, first)
    assert bound(ledger).body["run_state"] == "started"
    resolve_bound(ledger, first)
    target = {"specs": {k: v.with_seed(77).to_json() for k, v in specs().items()}}
    again = book.register(ledger, ask("q"), forecast(at=COST), **COMPLETE | {"target": target})
    assert again.body["run_state"] == "finished"
    assert standing.find(ledger, again.hash).labels == [
        "When it was registered, a run of this recipe with other seeds was already finished: its outcome was known."
    ]
    other = book.register(ledger, ask("q"), forecast(), **COMPLETE)  # a run in words: the ledger cannot tell
    assert other.body["run_state"] == "not started"


def test_an_earlier_run_of_the_recipe_is_not_called_the_run_unless_the_outcome_is_of_an_unbound_one(tmp_path):
    """An honest second run; and the attack: an outcome by word alone, which may be that of the run before."""
    ledger = Ledger(tmp_path)
    book.start(ledger, bound(ledger))
    second, third = bound(ledger), bound(ledger)
    book.start(ledger, second)
    resolve_bound(ledger, second)
    said = "When it was registered, a run of this recipe with other seeds was already started: "
    assert standing.find(ledger, second.hash).labels[0] == said + "its outcome may have been known."
    book.resolve(ledger, third, 0.5)
    unbound = standing.find(ledger, third.hash)
    assert unbound.labels[0] == "The prediction was registered when the run was already started."


def test_a_prediction_entered_once_more_does_not_meet_its_own_run(tmp_path):
    ledger = Ledger(tmp_path)
    target = {"specs": {k: v.to_json() for k, v in specs().items()}}
    facts = COMPLETE | {"target": target}
    entry = book.register(ledger, ask("q"), forecast(at=COST), nonce="one", **facts)
    book.start(ledger, entry)
    assert book.register(ledger, ask("q"), forecast(at=COST), nonce="one", **facts) == entry
    hidden = Ledger(tmp_path / "hidden")
    sealed = book.register(hidden, ask("q"), forecast(at=COST), embargo=True, **facts)
    book.start(hidden, sealed, standing.find(hidden, sealed.hash).prediction)
    assert bound(hidden).body["run_state"] == "started"  # its start names the recipe


def test_an_anchor_between_the_prediction_and_its_run_is_what_no_private_ledger_has(tmp_path):
    """The attack: many ledgers that nobody sees, a run in each, the best one shown. Not seen by chain, head or seed."""
    ledger = Ledger(tmp_path)
    early, late, never = (bound(ledger) for _ in range(3))
    anchor(ledger, early.seq + 1)
    book.start(ledger, late)
    anchor(ledger, len(list(ledger)))
    book.start(ledger, early)
    shown = {e.seq: labels.NO_CLOCK in standing.find(ledger, e.hash).labels for e in (early, late, never)}
    assert shown == {early.seq: False, late.seq: True, never.seq: False}  # the last: not run yet
    resolve_bound(ledger, never)
    assert labels.NO_CLOCK not in standing.find(ledger, never.hash).labels  # the second anchor saw it
    record = standing.find(ledger, early.hash)
    assert (
        record.course == labels.Course(1, True, "", None, (3, 5))
        and labels.UNCHECKED.format("3 and 5") in record.labels
    )
    for proven, clocked, left in (({}, None, (3, 5)), ({3: True}, True, (3, 5)), ({3: False}, None, (5,)),
                                  ({3: False, 5: True}, True, (3, 5)), ({3: False, 5: False}, False, ())):  # fmt: skip
        found = standing.judged(record, proven)
        assert (found.clocked, found.anchors) == (clocked, left)
        assert (labels.NO_CLOCK in found.labels) == (clocked is False)


def anchor(ledger, size):
    head = {"origin": "o", "size": size, "root": "0" * 64}
    ledger.append("anchor", {"v": 1, "method": "git", "head": head, "evidence": {}, "blobs": []})


def test_an_outcome_without_trials_is_not_bound(tmp_path):
    ledger = Ledger(tmp_path)
    receipt = book.register(ledger, ask(), forecast(), **COMPLETE)  # a run in words: no specifications
    with pytest.raises(InputError, match="none are not the run bound"):
        book.resolve(ledger, receipt, 0.5, bound=True)
    measured = {"pretrain.loss.all": book.Measured(0.5, protocol="p" * 16)}
    ledger.append("outcome", book.Resolution(receipt.hash, measured, bound=True).body)
    record = standing.find(ledger, receipt.hash)
    assert not record.resolution.bound and record.labels == [labels.UNBOUND, labels.NO_CLOCK]
