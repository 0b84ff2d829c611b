"""What a prediction has to state before it is entered: nothing of it can be added later, so what is missing is named.

The forecasts bring data files with digests, law, prior, factors and grade; the program its commit, versions and lock
file; the person the question, the run, its state, and what would void the claim.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from scaling.compute import inputs_of
from scaling.errors import InputError
from scaling.fitted import Forecast
from scaling.metrics import LOSS
from scaling.observations import unit_of
from scaling.predictions import FINISHED, NOT_STARTED, STARTED, UNKNOWN, Claim, Prediction
from scaling.registry.entries import HEX64
from scaling.trials import TrialSpec
from scaling.units import differing, format_compute

STATES = (NOT_STARTED, STARTED, FINISHED)
UNSTATED = "unstated"
AGAIN = "make the forecasts again: scaling forecast ... -o forecasts.json"
OR = f"or {UNKNOWN!r}, which is shown beside the prediction"
RUN, SAMPLED = ("model", "data", "task"), ("k", "samples", "decoding")  # SAMPLED: of any metric but the loss
HOW = {
    "target": "--target target.json of a sweep, or --run 'which run it is' with --model, --train-data, --task, ...",
    "target.model": f"--model 'size of the model, in parameters', {OR}",
    "target.data": f"--train-data 'what it is trained on, and how many tokens', {OR}",
    "target.task": f"--task 'the problems it will be measured on', {OR}",
    "target.k": f"--k of pass@k (1: one attempt a problem), {OR}",
    "target.samples": f"--samples a problem, {OR}",
    "target.decoding": f"--decoding 'greedy', 'temperature 1', 'likeliest choice', ..., {OR}",
    "run_state": f"--run-state {' | '.join(map(repr, STATES))}",
    "voids": "--void 'what would void the prediction'",
    "assumptions": "--assume 'what the forecast rests on'",
    "provenance.data": f"--data FILE for every file the forecasts were made from, or {AGAIN}",
    "provenance.code": "the program's commit; it is found where the program is installed from its files",
    "provenance.versions": "package -> version",
    "provenance.lock": "SHA-256 of the lock file",
    "provenance.seed": f"--seed of the forecast's draws, or {AGAIN}",
    "provenance.replay": f"--replay 'the command that makes the forecasts again', or {AGAIN}",
    "text": "say in a few words what is predicted: --title",
    "protocol": "--protocol 'problem set, decoding and samples that the run will be measured with'",
    "prior": AGAIN,
    "fit_digest": AGAIN,
    "data_digest": AGAIN,
    "draws_digest": AGAIN,
    "law": AGAIN,
    "method": AGAIN,
}


def check_complete(prediction: Prediction) -> None:
    """Refuse a prediction that leaves something open, naming the first field and how to state it."""
    for field in _missing(prediction):
        how = HOW[field.rpartition(": ")[2]]
        raise InputError(f"the prediction is incomplete, nothing was entered: it does not state {field}", how)


def _missing(p: Prediction) -> Iterable[str]:
    made, run = p.provenance, p.target.get("run")
    code = made.get("code")
    stated = {
        "target": bool(p.target.get("specs")) or _words(run),
        **{f"target.{name}": _field(name, p.target.get(name)) for name in _fields(p)},
        "run_state": p.run_state in STATES,
        "voids": any(v.strip() for v in p.voids),
        "assumptions": any(a.strip() for a in p.assumptions),
        "provenance.data": _digests(made.get("data")),
        "provenance.code": isinstance(code, Mapping) and bool(code.get("commit") or code.get("files")),
        "provenance.versions": isinstance(made.get("versions"), Mapping) and bool(made["versions"]),
        "provenance.lock": _digest(made.get("lock")),
        "provenance.seed": type(made.get("seed")) is int,
        "provenance.replay": isinstance(made.get("replay"), str) and bool(made["replay"].strip()),
    }
    yield from (field for field, there in stated.items() if not there)
    for claim in p.claims:
        own = {name: bool(getattr(claim, name)) for name in ("text", "law", "method", "prior")}
        own["protocol"] = claim.subject.protocol not in ("", UNSTATED)
        own |= {name: _digest(getattr(claim, name)) for name in ("fit_digest", "data_digest", "draws_digest")}
        yield from (f"claim {claim.id}: {field}" for field, there in own.items() if not there)


def _fields(p: Prediction) -> tuple[str, ...]:
    """What has to be said of a run that is none of this program's: its specifications say it otherwise."""
    if p.target.get("specs"):
        return ()
    return RUN if all(c.subject.metric == LOSS.name for c in p.claims) else (*RUN, *SAMPLED)


def _field(name: str, value: Any) -> bool:
    if name in ("k", "samples"):
        return value == UNKNOWN or (type(value) is int and value > 0)
    return _words(value)


def _words(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _digest(value: Any) -> bool:
    return isinstance(value, str) and bool(HEX64.match(value))


def _digests(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(value) and all(map(_digest, value.values()))


def assumed(forecasts: Sequence[Forecast]) -> tuple[str, ...]:
    """What forecasts rest on beyond their data, in words: each said once."""
    found = ["the run follows the recipe of the runs that the forecast is from; nothing else changes with compute"]
    for f in forecasts:
        found.append(
            f"{f.law} goes on from {format_compute(f.max_x)} to {format_compute(f.target)} "
            f"({f.factor:.3g}x beyond the data; back-tested to {_times(f.earned_factor)})"
        )
    return tuple(dict.fromkeys(found))


def _times(factor: float | None) -> str:
    return f"{factor:.3g}x" if factor else "none"


def described(claims: Sequence[Claim], specs: Mapping[str, TrialSpec]) -> dict[str, Any]:
    """What a prediction says of its run beside the specifications: compute with its unit and, of specifications, model
    size, data, task, and how it is measured. Claims about different runs, or about another than the specified, are
    refused."""
    at: dict[tuple[str, str], Claim] = {}
    for claim in claims:
        s = claim.subject
        first = at.setdefault((s.stage, s.axis), claim)
        if not math.isclose(first.target, claim.target, rel_tol=1e-6):
            one, other = differing(first.target, claim.target)
            raise InputError(
                f"claims {first.id} and {claim.id} speak of {one} and {other}: one prediction is about one run",
                "register them one by one",
            )
        if specs:
            _check_run(claim, specs)
    compute = [
        {"stage": stage, "axis": axis, "value": claim.target, "unit": unit_of(axis) or "of the data's column"}
        for (stage, axis), claim in at.items()
    ]
    return {"compute": compute, **(_measured(specs) if specs else {})}


def _check_run(claim: Claim, specs: Mapping[str, TrialSpec]) -> None:
    s = claim.subject
    if s.stage not in specs:
        raise InputError(f"claim {claim.id}: the target describes no {s.stage} run", "leave out claims of that stage")
    costs = inputs_of(specs[s.stage]).get(s.axis)
    if costs is not None and not math.isclose(costs, claim.target, rel_tol=1e-6):
        told, there = differing(claim.target, costs)
        raise InputError(
            f"claim {claim.id} is about {told}, the target costs {there}",
            "make the forecasts with --target of the same file",
        )


def _measured(specs: Mapping[str, TrialSpec]) -> dict[str, Any]:
    spec = specs.get("rl", specs["pretrain"])
    inputs, k = inputs_of(spec), spec.evaluation.samples
    return {
        "model": {"N": inputs["N"], "unit": "parameters"},
        "data": {"D": inputs["D"], "unit": "tokens"},
        "task": f"{spec.task.name}, instance {spec.task.instance}",
        "k": 1,
        "samples": k,
        "decoding": f"{k} samples a problem at temperature 1" if k else "exact pass probability by teacher forcing",
    }
