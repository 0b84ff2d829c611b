"""How a forecast was made, in one plain sentence: one law, two stages, a pool of methods, an average of laws."""

from __future__ import annotations

import re
from collections.abc import Iterable

from reports.text import clean, shorten
from scaling.names import Named, law_of, law_title

# What a forecast's `law` is where it is no law.
MIXED = {
    "pool": "A pool mixes methods: each gives a fixed share of the draws, so that the interval also holds how far "
    "they disagree.",
    "average": "An average mixes laws by their evidence, that is by how well each foretells the runs; each is allowed "
    "a misfit, a smooth departure of the truth from it.",
    "two-stage": "Two-stage: a law of the loss, then a map from a run's loss to its metric.",
}
LONGEST = 240  # characters
_DETAIL = re.compile(r" ?\([^()]*\)|; [^;]* because .*\Z")


def kind_of(one: Named) -> str:
    """For a card: 'pool', 'average', 'one law, power'."""
    return made_by(one) if law_of(one.law) else clean(one.law)


def made_by(one: Named) -> str:
    """Once below the cards: 'pool: 75 % two-stage: power law of the loss, then pass_map; 25 % one law: pass_rate'."""
    if law := law_of(one.law):
        return law_title(one.law) if law.straight else f"one law, {clean(one.law)}"
    brief = shorten(_DETAIL.sub("", clean(one.method)), LONGEST)
    return brief if brief.startswith(clean(one.law)) else f"{clean(one.law)}: {brief}"


def mixed_kinds(laws: Iterable[str]) -> list[str]:
    """One sentence for every name among `laws` that is not a single law."""
    unknown = "'{}' is no law that this program knows: the forecast itself says how it was made."
    return [MIXED.get(law, unknown.format(clean(law))) for law in dict.fromkeys(laws) if not law_of(law)]
