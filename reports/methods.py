"""How a forecast was made, in one plain sentence: one law, two stages, a pool of methods, an average of laws."""

from __future__ import annotations

import re
from collections.abc import Iterable

from reports.text import clean
from scaling.laws import LAWS
from scaling.names import Named, law_title

# What a forecast's `law` is where it is no law.
MIXED = {
    "pool": "a pool: each method gives a fixed share of the draws, so that the interval also holds their disagreement",
    "average": "an average: laws share the draws by their evidence, how well each foretells the runs, and each is "
    "allowed a misfit, a smooth departure of the truth from it",
    "two-stage": "two stages: a law of the loss, and a map from a run's loss to its metric",
}
_DETAIL = re.compile(r" ?\([^()]*\)|; [^;]* because .*\Z")


def made_by(one: Named) -> str:
    """For a card: 'pool: 75 % two-stage: power law of the loss, then pass_map; 25 % one law: pass_rate'."""
    if one.law in LAWS:
        return law_title(one.law) if LAWS[one.law].straight else f"one law, {one.law}"
    brief = _DETAIL.sub("", clean(one.method))
    return brief if brief.startswith(clean(one.law)) else f"{clean(one.law)}: {brief}"


def kind_of(law: str) -> str:
    """'power: one law, fitted to the runs of its metric'; a name that nobody here knows is said to be one."""
    name = clean(law)
    if law in LAWS:
        return f"{name}: one law, {LAWS[law].says}"
    return f"{name}: {MIXED[law]}" if law in MIXED else f"{name}: a method by that name, in the words of the forecast"


def mixed_kinds(laws: Iterable[str]) -> list[str]:
    """One sentence for every name among `laws` that is not a single law."""
    return [f"{kind_of(law)}." for law in dict.fromkeys(laws) if law not in LAWS]
