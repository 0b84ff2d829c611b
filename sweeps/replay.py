"""Repeat the first steps of a run from its specification and compare them with what it logged.

A run of a prediction's recipe must have the seeds that the prediction's hash gives: one that states others is refused
before any step, and whoever trained first, predicted later and states the seeds all the same has another trace from the
first step on. On one machine and as many threads a CPU run repeats bit by bit. A GPU sums in any order and multiplies
in bfloat16: pre-training repeats within TOLERANCE there; in RL the drawn tokens hang on the last digit, so that it is
not compared. Runs that differ in their seed alone miss TOLERANCE at 13 to 16 of the first 16 steps (width 80, batch
456; larger batches are more alike), and at one or two steps by luck alone: at least GPU_STEPS are repeated, and a log
that ends before them is refused; so is a run that an outcome names and that is not complete. That it was a GPU is the
run's own word, hence a match within TOLERANCE is evidence, no proof.

What it cannot show: that the steps after the last repeated one are this program's (repeat all of them, and the weights
are compared with the checkpoint, what they are measured to be with the observations and the outcome), or that no other
base model stood behind the first. Of the files that the outcome names as evidence, those that are here must have the
digests it states.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.errors import InputError, NotReplayed
from scaling.provenance import machine, versions
from scaling.records import parse
from scaling.registry import Ledger, binding, standing
from scaling.registry.standing import Record, Sealed
from scaling.results import STEPS, TRACE, read_result
from scaling.trials import TrialSpec, TrialState
from sweeps import checkpoints
from sweeps.attempts import base_of
from sweeps.remeasured import check_evidence, check_observations, check_outcome
from sweeps.store import Store

if TYPE_CHECKING:
    from sweeps.runs import Checkpoint

UNLIKE = ("elapsed",)  # columns of the log that no two runs share
TOLERANCE = {"loss": 0.01, "grad_norm": 0.1}  # relative, on a GPU
GPU_STEPS = 16  # fewer agree within TOLERANCE by luck
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Replayed:
    """What was repeated and found the same. `entry`: the prediction whose hash gave the seed; None: a run of no
    prediction. `weights`: whether all steps were repeated and the checkpoint's weights came out; and with them what was
    measured, `evaluated`. `embargo`: what cannot be told before the prediction is revealed; "" for one that anybody can
    read. `unchecked`: evidence of the outcome that is not here."""

    trial: str
    stage: str
    steps: int
    traced: int
    logged: int
    exact: bool
    weights: bool
    evaluated: bool
    entry: int | None
    prediction: str | None
    embargo: str = ""
    unchecked: tuple[str, ...] = ()

    def __str__(self) -> str:
        how = "bit by bit" if self.exact else f"within {_limits()} (GPU, as the run states it: evidence, no proof)"
        seed = "no prediction fixed its seed"
        if self.prediction:
            seed = f"its seed derives from entry {self.entry} ({self.prediction[:12]})"
        seed += self.embargo and f", {self.embargo}"
        weights = ", and so do the final weights" if self.weights else ""
        measured = " and what they measure" if self.evaluated else "; the evaluation was not repeated"
        compared = f"{self.traced} traced updates, {self.logged} log rows"
        absent = f"; evidence that is not here was not checked: {', '.join(self.unchecked)}" if self.unchecked else ""
        return (
            f"{self.trial}: the first {self.steps} steps repeat {how} ({compared}){weights}{measured}; {seed}{absent}"
        )


def replay(steps: int, run: str, *, folder: Path, ledger: Path | None = None) -> list[Replayed]:
    """Repeat the first `steps` steps of a trial (its folder, or its id in folder/runs) or of all trials of a prediction
    (its hash, or 'latest'). Raises `NotReplayed` naming the first step that comes out differently."""
    book_at = ledger or folder / "ledger"
    kept = Ledger(book_at) if (book_at / "entries.jsonl").exists() else None
    return [_replay_trial(steps, path, kept) for path in _folders(run, folder, kept)]


def _folders(run: str, folder: Path, ledger: Ledger | None) -> list[Path]:
    for path in (Path(run), folder / "runs" / run):
        if (path / "spec.json").is_file():
            return [path]
    if ledger is None or not (run == standing.LATEST or set(run) <= set("0123456789abcdef")):
        raise InputError(
            f"{run!r:.80} is no trial: neither it nor {folder / 'runs' / run} holds a spec.json",
            "give a trial's folder, its id in FOLDER/runs, or the hash of a prediction",
        )
    record = standing.find(ledger, run)
    found = [folder / "runs" / spec.id for spec in binding.target_trials(record.entry, record.prediction)]
    for path in found:
        if not (path / "spec.json").is_file():
            raise InputError(f"{path} does not exist: the run of this prediction is not here", "train it first")
    return found


def _replay_trial(steps: int, folder: Path, ledger: Ledger | None) -> Replayed:
    path = folder / "spec.json"
    own = TrialSpec.from_json(parse(path.read_bytes(), what=str(path)))
    if own.id != folder.resolve().name:
        raise InputError(f"{path} is the specification of trial {own.id}, not of {folder.resolve().name}")
    record = _prediction(ledger, own)
    result = read_result(folder) or {}
    logged, traced = _rows(folder / STEPS), _rows(folder / TRACE) if (folder / TRACE).exists() else None
    if not logged:
        raise InputError(f"{folder / STEPS} holds no row: there is nothing to compare with", "run the trial first")
    complete = result.get("state") == TrialState.COMPLETE
    done = own.steps if complete else int(logged[-1]["step"])
    if not complete and isinstance(record, Record) and record.resolution and own.id in record.resolution.trials:
        raise NotReplayed(
            f"{own.id} is not complete here, its log ends at step {done} of {own.steps}: "
            f"the outcome (entry {record.outcomes[0].seq}) is of a complete run"
        )
    gpu = result.get("device", "cpu") != "cpu"
    if gpu and own.stage == "rl":
        raise InputError(f"{own.id} is RL on a GPU: its drawn tokens do not repeat", "replay its parent")
    if gpu and min(steps, done) < (least := min(GPU_STEPS, own.steps)):
        few = f"its log ends at step {done} of {own.steps}" if done < least else f"{steps} steps"
        raise InputError(
            f"{own.id} states that it ran on a GPU: {few}, and so few agree within {_limits()} by luck",
            f"repeat at least {least}: --replay-steps {least}",
        )
    store = Store(folder.resolve().parent.parent)
    again = _repeat(own, store, min(steps, done), result, gpu=gpu)
    hint = _hint(result)
    limit = TOLERANCE if gpu else {}
    if traced is not None:
        _compare(own, TRACE, traced, again.traced, again.steps, limit, hint)
    _compare(own, STEPS, logged, again.logged, again.steps, limit, hint)
    weights = not gpu and again.steps == own.steps and _same_weights(own, folder, result, again, hint)
    evaluated = weights and _same_measures(own, store, result, again, record, hint)
    unchecked = check_evidence(record, folder) if isinstance(record, Record) else ()
    return Replayed(
        trial=own.id,
        stage=own.stage,
        steps=again.steps,
        traced=len(again.traced) if traced is not None else 0,
        logged=len(again.logged),
        exact=not gpu,
        weights=weights,
        evaluated=evaluated,
        entry=record.entry.seq if record else None,
        prediction=record.entry.hash if record else None,
        embargo=_embargo(record),
        unchecked=unchecked,
    )


def _prediction(ledger: Ledger | None, own: TrialSpec) -> Record | Sealed | None:
    """The prediction whose hash gave this run its seeds; None: no prediction is about its recipe. Of another seed than
    every prediction of its recipe gives, it is the run of none: refused, whatever it logged. One under embargo whose
    secret is elsewhere is known by its seed alone."""
    other: NotReplayed | None = None
    alone = {"rl": own, "pretrain": own.parent} if own.parent else {"pretrain": own}
    for one in standing.readable(ledger) if ledger else ():
        if isinstance(one, Sealed):
            bound: Iterable[TrialSpec] = binding.bind(alone, one.entry.hash)
        else:
            bound = binding.target_trials(one.entry, one.prediction) if "specs" in one.prediction.target else ()
        for spec in bound:
            if spec.id == own.id:
                return one
            if spec.recipe_digest == own.recipe_digest and not isinstance(one, Sealed):
                other = NotReplayed(
                    f"{own.id} is not bound to the prediction: entry {one.entry.seq} ({one.entry.hash[:12]}) "
                    f"gives this recipe {_from(spec)}, the run has {_from(own)}"
                )
    if other:
        raise other
    return None


def _from(spec: TrialSpec) -> str:
    return f"the seed {spec.seed}" + (f" on {spec.parent.end}" if spec.parent else "")


def _embargo(known: Record | Sealed | None) -> str:
    if isinstance(known, Sealed):
        return "which is under embargo: whether this is the run that it predicts, its reveal will show"
    return "which is under embargo and was read with its secret" if known and known.sealed else ""


@dataclass
class _Again:
    """What a repeated run logs, and its state at the end."""

    steps: int
    logged: list[Row] = field(default_factory=list)
    traced: list[Row] = field(default_factory=list)
    last: Checkpoint | None = None


class _Enough(Exception):
    """The last step that was asked for is done."""


def _repeat(own: TrialSpec, store: Store, steps: int, result: Mapping[str, Any], *, gpu: bool) -> _Again:
    """The first `steps` steps, with as many threads as the run had."""
    import torch

    from sweeps.optim import Diverged
    from sweeps.train import train

    again, base = _Again(steps), base_of(store, own)

    def save(checkpoint: Checkpoint) -> None:
        again.last = checkpoint
        if checkpoint.step >= steps:
            raise _Enough

    device = "cuda" if gpu and torch.cuda.is_available() else "cpu"
    log, trace = again.logged.append, again.traced.append
    try:
        with _threads(result):
            train(own, base=base, log=log, save=save, every=steps, device=device, trace=trace)
    except _Enough:
        pass
    except Diverged as error:
        if result.get("state") != TrialState.DIVERGED:
            raise NotReplayed(f"{own.id}: step {error.step + 1}: repeated, it diverges: {error.reason}") from None
    return again


@contextlib.contextmanager
def _threads(result: Mapping[str, Any]) -> Iterator[None]:
    """As many as the run had: sums over several come in another order."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(int(result.get("threads") or 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _compare(
    own: TrialSpec, name: str, kept: list[Row], made: list[Row], steps: int, limit: Mapping[str, float], hint: str
) -> None:
    """Row by row; the first step that differs is named."""
    for step in range(1, steps + 1):
        theirs, ours = ([row for row in rows if row["step"] == step] for rows in (kept, made))
        for difference in _differences(theirs, ours, limit):
            raise NotReplayed(f"{own.id}: step {step}: {difference.format(name)}", hint)


def _differences(theirs: list[Row], ours: list[Row], limit: Mapping[str, float]) -> Iterator[str]:
    if len(theirs) != len(ours):
        yield f"{{}} has {len(theirs)} rows, repeated it has {len(ours)}"
    for kept, made in zip(theirs, ours, strict=False):
        shared = [c for c in made if c in kept and c not in UNLIKE and (not limit or c in limit)]
        if "loss" not in shared:
            yield "{} says nothing of the loss"
        for column in shared:
            if not _same(kept[column], made[column], limit.get(column)):
                yield f"{column} is {_shown(kept[column])} in {{}}, repeated it is {_shown(made[column])}"


def _same(kept: Any, made: Any, limit: float | None) -> bool:
    left, right = _number(kept), _number(made)
    if limit is None or left is None or right is None:
        return left == right
    return math.isclose(left, right, rel_tol=limit)


def _number(value: Any) -> float | None:
    """A row's value: traced ones are hexadecimal, one that is no number is null in the log."""
    try:
        number = float.fromhex(value) if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _shown(value: Any) -> str:
    number = _number(value)
    return f"{value!r:.40}" if number is None else f"{number!r}"


def _same_weights(own: TrialSpec, folder: Path, result: Mapping[str, Any], again: _Again, hint: str) -> bool:
    """All steps were repeated: the weights are those of the checkpoint that the result names, bit by bit."""
    import torch

    from sweeps.runs import Checkpoint

    if again.last is None or not result.get("checkpoint"):
        return False
    kept = Checkpoint(again.steps, checkpoints.exact(folder, result["checkpoint"])).weights
    made = again.last.weights
    for name in made:
        if name not in kept or not torch.equal(kept[name], made[name]):
            raise NotReplayed(f"{own.id}: step {again.steps}: the weights {name} are not those of its checkpoint", hint)
    return True


def _same_measures(
    own: TrialSpec, store: Store, result: Mapping[str, Any], again: _Again, record: Record | Sealed | None, hint: str
) -> bool:
    """The repeated weights are measured again: every number is that of the observations and of the outcome."""
    from sweeps.evaluate import evaluate
    from sweeps.measured import observations_of

    assert again.last is not None
    with _threads(result):
        measured = evaluate(own, again.last.weights, base=base_of(store, own))
    rows = observations_of(own, measured, {}, again.steps)
    check_observations(own.id, store.trial(own).observations, rows, hint)
    if isinstance(record, Record):
        check_outcome(own.id, rows, record, hint)
    return True


def _hint(result: Mapping[str, Any]) -> str:
    """What else may be behind a difference."""
    here, there = versions(), result.get("versions") or {}
    other = [f"{name} {there[name]} then, {here[name]} now" for name in ("torch", "numpy") if _other(name, here, there)]
    cpu, then = machine()["cpu"], (result.get("machine") or {}).get("cpu")
    other += [f"on {then} then, {cpu} now"] if then and then != cpu else []
    return f"it was made elsewhere, which may change last digits: {'; '.join(other)}" if other else ""


def _other(name: str, here: Mapping[str, str], there: Mapping[str, str]) -> bool:
    return name in here and name in there and here[name] != there[name]


def _rows(path: Path) -> list[Row]:
    """Every line, strictly: half a line is named by its number."""
    rows: list[Row] = []
    try:
        lines: Iterable[bytes] = path.read_bytes().splitlines()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist", "run the trial first") from None
    for number, line in enumerate(lines, 1):
        row = parse(line, what=f"{path}, line {number}")
        if not isinstance(row, dict) or type(row.get("step")) is not int:
            raise InputError(f"{path}, line {number} is no row of a training log: it names no step")
        rows.append(row)
    return rows


def _limits() -> str:
    return ", ".join(f"{100 * share:g} % of {name}" for name, share in TOLERANCE.items())
