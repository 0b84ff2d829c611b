"""Decisions: what the ladder fixes for a trial, each beside the code that decides it, with its reason and its source.

Functions of the ladder are marked with `decides`, so that no decision stands twice: `scaling plan --explain` prints
the rule (the first paragraph of the function's docstring), what it gave in a sweep, the reason and the source.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from scaling.trials import TrialSpec

Decide = TypeVar("Decide", bound=Callable[..., Any])


@dataclass(frozen=True)
class Decision:
    """One decision. `read` takes its outcome from an RL trial (whose parent is its base trial)."""

    name: str
    rule: str
    reason: str
    source: str
    read: Callable[[TrialSpec], Any]


DECISIONS: dict[str, Decision] = {}


def decides(name: str, read: Callable[[TrialSpec], Any], *, reason: str, source: str) -> Callable[[Decide], Decide]:
    """Mark the function that decides `name`."""

    def mark(decide: Decide) -> Decide:
        rule = " ".join((inspect.getdoc(decide) or "").split("\n\n")[0].split())
        DECISIONS[name] = Decision(name, rule, reason, source, read)
        return decide

    return mark
