"""A run is repeated from its specification: an honest one comes out bit by bit, any other is named by the first step.

"Train first, predict later" is performed here and seen by exactly what the design says: not by the chain, not by a
remembered head, but by the seed that the entry's hash gives.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from dataclasses import replace

import pytest

from scaling.__main__ import main
from scaling.compute import inputs_of
from scaling.errors import InputError, NotReplayed, StoreError
from scaling.labels import NO_CLOCK
from scaling.observations import Observations
from scaling.records import canonical, file_digest
from scaling.registry import Ledger, binding, book, standing
from scaling.results import TRACED, seal
from scaling.trials import GRPOSpec, TrialState
from sweeps import optim
from sweeps.attempts import Attempt, Stopped
from sweeps.bound import begin, conclude
from sweeps.replay import replay
from sweeps.store import Store
from tests.predictions import COMPLETE, ask, forecast
from tests.sweeps.small import base_spec, model, rl_spec

BASE = base_spec(steps=30)
RL = rl_spec(BASE, steps=5, prompts=32, group=8, grpo=GRPOSpec(32, 8, 0.05, updates=2))
TARGET = {"specs": {"pretrain": BASE.to_json(), "rl": RL.to_json()}}


def register(folder, specs=TARGET, **changes):
    at = inputs_of(BASE)["C_pre"]
    protocol = "p" * 16
    if like := changes.pop("like", None):
        (protocol,) = Observations.read(like, metric="loss").frame["protocol"]
    made = forecast(middle=3.0, at=at)
    made = replace(made, subject=replace(made.subject, protocol=protocol))
    return book.register(Ledger(folder / "ledger"), ask(), made, **COMPLETE | {"target": specs} | changes)


def run(folder, specs):
    return [Attempt(spec, Store(folder)).run() for spec in specs]


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The recipe trained with seeds of one's own, before any prediction."""
    folder = tmp_path_factory.mktemp("other")
    run(folder, [BASE, RL])
    return folder


@pytest.fixture(scope="module")
def honest(tmp_path_factory, other):
    """Predicted, started, trained, resolved."""
    folder = tmp_path_factory.mktemp("honest")
    entry = register(folder, like=other / "runs")
    ledger = Ledger(folder / "ledger")
    conclude(ledger, entry, folder, run(folder, begin(ledger, entry, folder)))
    return folder, entry


@pytest.fixture
def copy(honest, tmp_path):
    """(folder, bound base trial, bound RL trial) to do wrong to."""
    shutil.copytree(honest[0], tmp_path / "copy")
    return tmp_path / "copy", *(tmp_path / "copy" / "runs" / s.id for s in binding.target_trials(honest[1]))


def test_an_honest_run_repeats_bit_by_bit_in_both_stages(honest):
    folder, entry = honest
    base, rl = replay(TRACED, "latest", folder=folder)
    assert (base.steps, base.traced, base.logged, base.weights) == (16, 16, 16, False)
    assert (rl.steps, rl.traced, rl.weights) == (5, 10, True)  # two updates a step, and all of its steps
    assert base.prediction == rl.prediction == entry.hash and "bit by bit" in str(base)
    (whole,) = replay(10**6, base.trial, folder=folder)
    assert (whole.steps, whole.logged, whole.weights) == (30, 30, True)
    assert "final weights and what they measure" in str(whole) and "derives from entry 0" in str(whole)
    assert rl.evaluated and not base.evaluated and "; the evaluation was not repeated" in str(base)
    record = standing.find(Ledger(folder / "ledger"), entry.hash)
    assert record.resolution.bound and record.labels == [NO_CLOCK]
    assert {f"{s.id}/trace.jsonl" for s in binding.target_trials(entry)} <= set(record.resolution.evidence)


def test_a_run_of_no_prediction_repeats_too_and_says_so(other):
    (found,) = replay(3, str(other / "runs" / BASE.id), folder=other / "nowhere")
    assert found.prediction is None and "no prediction fixed its seed" in str(found)


def test_every_seed_of_the_run_hangs_on_the_entry(tmp_path):
    """Initial weights, data order and drawn tokens: two predictions of one run share no step."""
    one, two = (binding.target_trials(register(tmp_path / name)) for name in "ab")
    for left, right in zip(one, two, strict=True):
        assert left.seed != right.seed and max(left.seed, right.seed) > 2**56
    run(tmp_path, [*one, *two])
    for left, right in zip(one, two, strict=True):
        assert not norms(tmp_path / "runs" / left.id) & norms(tmp_path / "runs" / right.id)


def norms(folder):
    """What the steps of a trace do not share by chance: gradient norms, in RL the entropy of what was drawn."""
    rows = [json.loads(line) for line in (folder / "trace.jsonl").read_text().splitlines()]
    found = {row.get("entropy", row["grad_norm"]) for row in rows}
    assert len(found) == len({row["step"] for row in rows})
    return found


def edit(path, line, change):
    rows = [json.loads(text) for text in path.read_bytes().splitlines()]
    change(rows[line])
    path.write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))


def last_digit(row):
    row["loss"] = (float.fromhex(row["loss"]) * (1 + 2**-52)).hex()


@pytest.mark.parametrize(
    ("name", "line", "change", "says"),
    [
        ("trace.jsonl", 6, last_digit, "step 7: loss is"),
        ("trace.jsonl", 2, lambda row: row.update(grad_norm=(1.0).hex()), "step 3: grad_norm is 1.0 in trace.jsonl"),
        ("trace.jsonl", 4, lambda row: row.update(step=6), "step 5: trace.jsonl has 0 rows, repeated it has 1"),
        ("trace.jsonl", 4, lambda row: row.update(loss="much"), "step 5: loss is 'much'"),
        ("steps.jsonl", 8, lambda row: row.update(loss=row["loss"] - 1e-6), "step 9: loss is"),
        ("steps.jsonl", 8, lambda row: row.update(lr=None), "step 9: lr is None"),
        ("steps.jsonl", 0, lambda row: row.pop("loss"), "step 1: steps.jsonl says nothing of the loss"),
    ],
)
def test_an_edited_log_is_named_by_its_step(copy, name, line, change, says):
    folder, base, _ = copy
    edit(base / name, line, change)
    with pytest.raises(NotReplayed, match=says):
        replay(16, base.name, folder=folder)


def test_a_trace_left_out_or_made_anew_is_not_the_one_of_the_outcome(copy):
    folder, base, _ = copy
    (base / "trace.jsonl").unlink()
    with pytest.raises(NotReplayed, match=r"is not the file whose digest the outcome \(entry 2\) names"):
        replay(2, base.name, folder=folder)


def test_other_final_weights_are_noticed_when_all_steps_are_repeated(copy):
    from safetensors.torch import load_file, save_file

    folder, base, _ = copy
    path, result = base / "checkpoint.safetensors", json.loads((base / "result.json").read_bytes())
    tensors = load_file(path)
    tensors["model.norm.weight"][0] += 2**-20
    save_file(tensors, path)
    body = {k: v for k, v in result.items() if k != "digest"} | {"checkpoint": file_digest(path)}
    (base / "result.json").write_bytes(canonical(seal(body)))
    assert replay(29, base.name, folder=folder)
    with pytest.raises(NotReplayed, match=r"step 30: the weights model\.norm\.weight are not those"):
        replay(30, base.name, folder=folder)


def mend(trial, change):
    """Change the rows of a trial's observations and seal its result over them."""
    rows = [json.loads(line) for line in (trial / "observations.jsonl").read_text().splitlines()]
    change(rows)
    (trial / "observations.jsonl").write_bytes(b"".join(canonical(row) + b"\n" for row in rows))
    body = json.loads((trial / "result.json").read_bytes())
    body.pop("digest")
    body["observations"] = file_digest(trial / "observations.jsonl")
    (trial / "result.json").write_bytes(canonical(seal(body)))


def loss_is(rows, value=3.0):
    next(row for row in rows if row["metric"] == "loss")["value"] = value


@pytest.fixture
def unresolved(honest, tmp_path):
    """The honest run without its outcome, to resolve otherwise: (folder, ledger, entry, base trial)."""
    folder, entry = tmp_path / "project", honest[1]
    shutil.copytree(honest[0], folder)
    path = folder / "ledger" / "entries.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:2]))
    return folder, Ledger(folder / "ledger"), entry, folder / "runs" / binding.target_trials(entry)[0].id


def test_an_edited_evaluation_is_seen_when_all_steps_are_repeated(unresolved, capsys):
    """The attack: an honest run, one number of its evaluation changed and sealed, then entered as the outcome."""
    folder, ledger, entry, base = unresolved
    mend(base, loss_is)
    book.resolve_from_runs(ledger, entry, folder / "runs")
    assert standing.find(ledger, entry.hash).resolution.values["pretrain.loss.all"].value == 3.0
    (part,) = replay(29, base.name, folder=folder)
    assert "the evaluation was not repeated" in str(part)
    with pytest.raises(NotReplayed, match=r"value of \S+\.loss\.all is 3 in observations\.jsonl, measured again"):
        replay(30, base.name, folder=folder)
    assert main(["verify", "--folder", str(folder), "--replay-steps", "30", base.name]) == 4
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows.pop(), "stands only in what is measured again"),
        (lambda rows: rows[0].update(se=1e-9), "se of"),
        (lambda rows: next(r for r in rows if r.get("problems"))["problems"]["p"].__setitem__(3, 0.5), "problems of"),
    ],
)
def test_every_row_of_the_observations_is_held_against_the_evaluation(unresolved, change, says):
    folder, _, _, base = unresolved
    mend(base, change)
    with pytest.raises(NotReplayed, match=says):
        replay(30, base.name, folder=folder)


def test_an_outcome_that_is_not_what_the_run_measured_is_seen(unresolved):
    """Entered past the folder: evidence and trials of the honest run, and another value."""
    folder, ledger, entry, base = unresolved
    trials = binding.bound_ids(entry)
    files = [f"{trial}/{name}.jsonl" for trial in trials for name in ("observations", "trace")]
    evidence = {name: file_digest(folder / "runs" / name) for name in files}
    book.resolve(ledger, entry, 3.0, trials=trials, bound=True, evidence=evidence)
    assert replay(29, base.name, folder=folder)
    with pytest.raises(NotReplayed, match=r"outcome \(entry 2\) states 3 for pretrain\.loss\.all, measured again"):
        replay(30, base.name, folder=folder)


def test_every_digest_of_the_evidence_is_checked(unresolved, monkeypatch):
    folder, ledger, entry, base = unresolved
    monkeypatch.chdir(folder)
    (folder / "eval.json").write_text("{}")
    book.resolve_from_runs(
        ledger, entry, folder / "runs", evidence={"eval.json": file_digest(folder / "eval.json"), "gone.txt": "1" * 64}
    )
    (found,) = replay(2, base.name, folder=folder)
    assert found.unchecked == ("gone.txt",) and "not checked: gone.txt" in str(found)
    (folder / "eval.json").write_text("{ }")
    with pytest.raises(NotReplayed, match=r"eval\.json is not the file whose digest the outcome \(entry 2\) names"):
        replay(2, base.name, folder=folder)
    (folder / "eval.json").write_text("{}")
    mend(base, loss_is)  # after the outcome
    with pytest.raises(NotReplayed, match=r"observations\.jsonl is not the file whose digest"):
        replay(2, base.name, folder=folder)


@pytest.mark.parametrize(("stage", "step"), [(1, "[2-4]"), (2, "[1-5]")])
def test_code_with_one_number_changed_is_seen(copy, monkeypatch, stage, step):
    monkeypatch.setattr(optim, "ADAM_EPS", 1e-5)
    with pytest.raises(NotReplayed, match=f"step {step}: (loss|grad_norm) is"):
        replay(16, copy[stage].name, folder=copy[0])


def claimed(folder, entry, theirs):
    """The attack: runs trained before are laid where the prediction's bound run would be, ids and digests mended."""
    for own, spec in zip((BASE, RL), binding.target_trials(entry), strict=True):
        laid(folder, own, spec, theirs)


def laid(folder, own, spec, theirs):
    new = folder / "runs" / spec.id
    shutil.copytree(theirs / "runs" / own.id, new)
    rows = (new / "observations.jsonl").read_text()
    for old, by in {own.id: spec.id, own.base.id: spec.base.id}.items():
        rows = rows.replace(old, by)
    (new / "observations.jsonl").write_text(rows)
    (new / "spec.json").write_bytes(canonical(spec.to_json()))
    states(new, trial=spec.id, spec_digest=spec.digest, observations=file_digest(new / "observations.jsonl"))


def test_train_first_and_predict_later(other, tmp_path, capsys):
    """Hidden, it is seen by the bound seed alone; shown, it is labelled in every output."""
    shutil.copytree(other / "runs", tmp_path / "before" / "runs")
    entry = register(tmp_path / "before", like=other / "runs", run_state=binding.run_state(
        tmp_path / "before" / "runs", binding.target_of(TARGET, where="")))  # fmt: skip
    assert entry.body["run_state"] == "finished"  # whoever leaves the run where it is says so

    folder = tmp_path / "hidden"
    entry = register(folder, like=other / "runs")
    ledger = Ledger(folder / "ledger")
    remembered = ledger.remember()
    shutil.copytree(other / "runs", folder / "runs")
    with pytest.raises(InputError, match="train it first"):  # unbound trials are not looked at
        book.resolve_from_runs(ledger, entry, folder / "runs")
    shutil.rmtree(folder / "runs")
    book.start(ledger, entry)
    claimed(folder, entry, other)
    book.resolve_from_runs(ledger, entry, folder / "runs")
    assert ledger.verify(heads=[remembered]).ok  # the chain and a head are blind to it
    assert standing.find(ledger, entry.hash).labels == [NO_CLOCK]
    for spec in binding.target_trials(entry):  # the seed is not
        with pytest.raises((NotReplayed, StoreError), match="step 1: "):
            replay(1, spec.id, folder=folder)
    assert main(["verify", "--folder", str(folder), "--replay-steps", "1", "latest"]) == 4
    err = capsys.readouterr().err
    assert "step 1: " in err and err.count("\n") == 1


def test_a_run_of_another_seed_is_no_run_of_the_prediction(honest, other):
    folder, entry = honest
    seed = binding.target_trials(entry)[0].seed
    for steps in (1, 16):  # before any step is compared
        says = rf"is not bound .* entry 0 .* gives this recipe the seed {seed}, the run has the seed 5"
        with pytest.raises(NotReplayed, match=says):
            replay(steps, str(other / "runs" / BASE.id), folder=folder)
    with pytest.raises(NotReplayed, match=f"the run has the seed 9 on {BASE.id}"):
        replay(16, str(other / "runs" / RL.id), folder=folder)


def test_a_stopped_and_resumed_run_keeps_its_trace(tmp_path):
    """Stopped after every few steps: the rows of the trace are those of the unbroken run."""
    store, spec = Store(tmp_path), replace(BASE, seed=11)
    steps: list[int] = []
    for _ in range(100):
        attempt = Attempt(spec, store, checkpoint_s=0.0, report=steps.append, stopping=lambda: len(steps) % 4 == 3)
        with contextlib.suppress(Stopped):
            trial = attempt.run()
            break
        steps.append(0)
    assert trial.state is TrialState.COMPLETE and store.attempts(spec) > 2
    (found,) = replay(30, spec.id, folder=tmp_path)
    assert found.traced == TRACED and found.weights


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("trace.jsonl", lambda b: b[:-20], r"trace\.jsonl, line 16 is not valid"),
        ("steps.jsonl", lambda b: b[:-20], r"steps\.jsonl, line 30 is not valid"),
        ("steps.jsonl", lambda b: b"", r"steps\.jsonl holds no row"),
        ("steps.jsonl", lambda b: b"[]\n", r"steps\.jsonl, line 1 is no row"),
        ("spec.json", lambda b: b[:99], r"spec\.json is not valid"),
        ("spec.json", lambda b: canonical(BASE.to_json()), r"spec\.json is the specification of trial"),
        ("result.json", lambda b: b[:99], r"result\.json is corrupt"),
    ],
)
def test_half_a_file_is_named_with_the_line(copy, name, content, says, capsys):
    folder, base, _ = copy
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*")}
    (base / name).write_bytes(content((base / name).read_bytes()))
    assert main(["verify", "--folder", str(folder), "--replay-steps", "3", base.name]) == 1
    err = capsys.readouterr().err
    assert re.search(says, err) and err.count("\n") == 1
    assert set(before) == set(folder.rglob("*"))


@pytest.mark.parametrize("run", ["nonsense", "deadbeef", "../x", ""])
def test_an_unknown_run_is_one_sentence(run, honest, capsys):
    assert main(["verify", "--folder", str(honest[0]), "--replay-steps", "3", run]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def on_a_gpu(folder):
    """The run's own word: nothing else says where it ran."""
    states(folder, device="cuda")


def states(folder, **said):
    body = json.loads((folder / "result.json").read_bytes()) | said
    body.pop("digest")
    (folder / "result.json").write_bytes(canonical(seal(body)))


def test_a_gpu_run_is_held_to_a_tolerance_and_its_rl_not_at_all(copy):
    folder, base, rl = copy
    on_a_gpu(base)
    on_a_gpu(rl)
    shutil.rmtree(folder / "ledger")
    edit(base / "trace.jsonl", 3, last_digit)
    edit(base / "steps.jsonl", 3, lambda row: row.update(loss=row["loss"] * 1.005, loss_max=9.0))
    (found,) = replay(16, base.name, folder=folder)
    assert not found.exact
    for words in ("within 1 % of loss", "GPU, as the run states it", "evidence, no proof"):
        assert words in str(found)
    with pytest.raises(InputError, match="states that it ran on a GPU: 15 steps") as seen:
        replay(15, base.name, folder=folder)
    assert "--replay-steps 16" in seen.value.hint
    edit(base / "steps.jsonl", 3, lambda row: row.update(loss=row["loss"] * 1.02))
    with pytest.raises(NotReplayed, match="step 4: loss is"):
        replay(16, base.name, folder=folder)
    with pytest.raises(InputError, match="RL on a GPU"):
        replay(16, rl.name, folder=folder)


def test_a_run_that_says_gpu_to_be_held_to_less_is_refused_by_its_seed(tmp_path, capsys):
    """The attack: trained first with a seed of one's own and a batch so large that one step of any seed is alike, then
    predicted. Its first step agrees within the tolerance of a GPU; that it has another seed is seen all the same."""
    alike = base_spec(steps=2, batch=200, model=model(width=80, heads=4))
    alike = replace(alike, optim=replace(alike.optim, lr=1e-3))
    run(tmp_path, [alike])
    theirs = tmp_path / "runs" / alike.id
    on_a_gpu(theirs)
    made = forecast(middle=3.0, at=inputs_of(alike)["C_pre"])
    book.register(
        Ledger(tmp_path / "ledger"), ask(), made, **COMPLETE | {"target": {"specs": {"pretrain": alike.to_json()}}}
    )
    for steps in ("1", "16"):
        assert main(["verify", "--folder", str(tmp_path), "--replay-steps", steps, str(theirs)]) == 4
        assert "the run has the seed 5" in capsys.readouterr().err


def test_a_log_cut_to_the_steps_that_agree_by_luck_is_refused(tmp_path, capsys):
    """The attack: trained first, then predicted; of log and trace the first row is kept, said to be of a GPU. Entered
    whole, the result is made one of a run that goes on."""
    alike = base_spec(steps=40, batch=200, model=model(width=80, heads=4))
    alike = replace(alike, optim=replace(alike.optim, lr=1e-3))
    run(tmp_path / "before", [alike])
    target, folder = {"specs": {"pretrain": alike.to_json()}}, tmp_path / "project"
    made = forecast(middle=3.0, at=inputs_of(alike)["C_pre"])
    (protocol,) = Observations.read(tmp_path / "before" / "runs", metric="loss").frame["protocol"]
    made = replace(made, subject=replace(made.subject, protocol=protocol))
    ledger = Ledger(folder / "ledger")
    entry = book.register(ledger, ask(), made, **COMPLETE | {"target": target})
    (spec,) = binding.target_trials(entry)
    book.start(ledger, entry)
    laid(folder, alike, spec, tmp_path / "before")
    trial = folder / "runs" / spec.id
    on_a_gpu(trial)
    whole = {name: (trial / name).read_bytes() for name in ("steps.jsonl", "trace.jsonl")}
    for name, text in whole.items():
        (trial / name).write_bytes(text.splitlines(keepends=True)[0])
    at = ["--folder", str(folder)]
    assert main(["resolve", "latest", "--runs", str(folder / "runs"), *at]) == 1
    assert "lacks step 2 of 40: it ends at step 1" in capsys.readouterr().err
    (trial / "trace.jsonl").write_bytes(whole["trace.jsonl"])
    (trial / "steps.jsonl").write_bytes(whole["steps.jsonl"])
    states(trial, state="RUNNING")
    (trial / "steps.jsonl").write_bytes(whole["steps.jsonl"].splitlines(keepends=True)[0])
    assert main(["verify", "--replay-steps", "16", "latest", *at]) == 1  # of no outcome: the GPU's own bound
    assert "its log ends at step 1 of 40" in capsys.readouterr().err
    states(trial, state="COMPLETE")
    (trial / "steps.jsonl").write_bytes(whole["steps.jsonl"])
    assert main(["resolve", "latest", "--runs", str(folder / "runs"), *at]) == 0
    states(trial, state="RUNNING")
    (trial / "steps.jsonl").write_bytes(whole["steps.jsonl"].splitlines(keepends=True)[0])
    capsys.readouterr()
    assert main(["verify", "--replay-steps", "16", "latest", *at]) == 4
    assert "its log ends at step 1 of 40: the outcome (entry 2) is of a complete run" in capsys.readouterr().err
    states(trial, state="COMPLETE")
    assert main(["verify", "--replay-steps", "16", "latest", *at]) == 4


def test_another_seed_is_beyond_the_tolerance_of_a_gpu_too(honest, other, tmp_path):
    """The same, with the seed of the entry written over its own."""
    folder, entry = tmp_path / "project", honest[1]
    claimed(folder, entry, other)
    shutil.copytree(honest[0] / "ledger", folder / "ledger")
    spec = binding.target_trials(entry)[0]
    on_a_gpu(folder / "runs" / spec.id)
    with pytest.raises(NotReplayed, match=r"step \d+: (loss|grad_norm) is"):
        replay(16, spec.id, folder=folder)
