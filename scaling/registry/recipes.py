"""What a ledger knows of earlier runs of a recipe: whoever saw one end does not foretell the next one blindly."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from scaling.predictions import FINISHED, NOT_STARTED, STARTED
from scaling.trials import TrialSpec

if TYPE_CHECKING:
    from scaling.registry.ledger import Ledger
    from scaling.registry.standing import Record, Sealed


def state_in(ledger: Ledger, target: Mapping[str, TrialSpec], *, but: str | None = None) -> str:
    """Whether a run of this recipe, under any seed, was started or has an outcome in the ledger; `but`: the nonce of a
    prediction that is entered once more, whose own run does not count."""
    from scaling.registry import standing

    wanted, found = {spec.recipe_digest for spec in target.values()}, NOT_STARTED
    for one in standing.known(ledger) if (ledger.folder / "entries.jsonl").exists() else ():
        if one.entry.nonce != but and (one.starts or one.outcomes) and wanted & set(_recipes(one)):
            if one.outcomes:
                return FINISHED
            found = STARTED
    return found


def _recipes(one: Record | Sealed) -> Iterator[str]:
    """Digests of the recipes that a prediction is about, and of those that its starts name: of a sealed one these."""
    from scaling.registry import binding, standing

    for start in one.starts:
        named = start.body.get("recipe_digests")
        yield from map(str, named.values()) if isinstance(named, dict) else ()
    if isinstance(one, standing.Record) and "specs" in one.prediction.target:
        yield from (spec.recipe_digest for spec in binding.target_of(one.prediction.target, where="").values())
