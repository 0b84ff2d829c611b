"""The run that a prediction is about: its specifications, and the seeds that the entry's hash gives them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.predictions import FINISHED, NOT_STARTED, STARTED, Prediction
from scaling.records import parse
from scaling.registry.entries import Entry, seed_for
from scaling.trials import TrialSpec


def bind(specs: Mapping[str, TrialSpec], entry_hash: str) -> tuple[TrialSpec, ...]:
    """The specifications of a prediction's run with their seeds fixed by the entry's hash, the base trial first.

    The hash fixes the seeds; it does not say that it was the only one: who keeps many ledgers, each with a prediction
    that differs by its nonce alone, draws as many seeds, and may show the ledger that turned out best. Nothing inside a
    ledger sees that. Hence NO_CLOCK (labels.py) wherever no anchor stands between a prediction and its run.
    """
    base = specs["pretrain"].with_seed(seed_for(entry_hash, "pretrain"))
    if "rl" not in specs:
        return (base,)
    return base, replace(specs["rl"], parent=base, seed=seed_for(entry_hash, "rl"))


def target_of(described: Any, *, where: str) -> dict[str, TrialSpec]:
    """The seedless specifications by stage of a target.json or of a prediction's `target`; refused if malformed."""
    specs = described.get("specs") if isinstance(described, Mapping) else None
    if not isinstance(specs, Mapping) or "pretrain" not in specs or set(specs) - {"pretrain", "rl"}:
        raise InputError(f"{where} does not state the target's specifications", "use the target.json of a sweep")
    return {stage: TrialSpec.from_json(spec) for stage, spec in specs.items()}


def run_state(runs: Path, target: Mapping[str, TrialSpec]) -> str:
    """Whether a run of this recipe, under any seed, stands in a folder of trials: not started, started or finished."""
    wanted = {spec.recipe_digest for spec in target.values()}
    found = NOT_STARTED
    for path in sorted(runs.glob("*/spec.json")):
        try:
            same = TrialSpec.from_json(parse(path.read_bytes(), what=str(path))).recipe_digest in wanted
        except InputError:
            continue  # a torn specification is no run: its trial starts again
        if same and (path.parent / "result.json").exists():
            return FINISHED
        found = STARTED if same else found
    return found


def target_trials(entry: Entry, prediction: Prediction | None = None) -> tuple[TrialSpec, ...]:
    """The bound specifications of a prediction whose target names them (`target["specs"]`, by stage).

    `prediction`: what the entry holds, where that is a commit."""
    target = prediction.target if prediction else entry.body.get("target")
    if not target:
        raise InputError(f"prediction {entry.hash[:12]} names no trial specifications", "register it with --target")
    return bind(target_of(target, where=f"prediction {entry.hash[:12]}"), entry.hash)


def bound_ids(entry: Entry, prediction: Prediction | None = None) -> tuple[str, ...]:
    """Ids of the trials whose seeds derive from a prediction's hash; none where it names no specifications.

    `prediction`: what the entry holds, where that is a commit."""
    target = prediction.target if prediction else entry.body.get("target", {})
    return tuple(s.id for s in target_trials(entry, prediction)) if "specs" in target else ()
