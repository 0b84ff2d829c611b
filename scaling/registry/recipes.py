"""What a ledger knows of earlier runs of a recipe: whoever saw one end does not foretell the next one blindly."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from scaling.errors import InputError
from scaling.predictions import FINISHED, NOT_STARTED, STARTED
from scaling.records import canonical, parse
from scaling.registry import binding
from scaling.registry.entries import Kind
from scaling.trials import TrialSpec

if TYPE_CHECKING:
    from scaling.registry.ledger import Ledger


def state_in(ledger: Ledger, target: Mapping[str, TrialSpec], *, but: str | None = None) -> str:
    """Whether a run of this recipe, under any seed, was started or has an outcome in the ledger; `but`: the nonce of a
    prediction that is entered once more, whose own run does not count."""
    from scaling.registry import standing

    if not (ledger.folder / "entries.jsonl").exists():
        return NOT_STARTED
    found = NOT_STARTED
    for entry in ledger.of_recipes({spec.recipe_digest for spec in target.values()}):
        one = standing.known_as(ledger, entry)
        if entry.nonce != but and one.outcomes:
            return FINISHED
        if entry.nonce != but and one.starts:
            found = STARTED
    return found


def named(kind: Kind, body: Mapping[str, Any]) -> frozenset[str]:
    """Digests of the recipes that a prediction is about, opened or not sealed, or that a start names."""
    if kind == Kind.START:
        digests = body.get("recipe_digests")
        return frozenset(map(str, digests.values())) if isinstance(digests, Mapping) else frozenset()
    told = body.get("opened") if kind == Kind.REVEAL else body if kind == Kind.PREDICTION else None
    target = told.get("target") if isinstance(told, Mapping) else None
    specs = target.get("specs") if isinstance(target, Mapping) else None
    return _digests(canonical(specs)) if specs else frozenset()


@lru_cache(maxsize=256)
def _digests(specs: bytes) -> frozenset[str]:
    try:
        described = binding.target_of({"specs": parse(specs)}, where="")
    except InputError:
        return frozenset()  # of another program
    return frozenset(spec.recipe_digest for spec in described.values())
