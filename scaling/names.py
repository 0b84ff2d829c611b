"""What a forecast or claim is called: its subject; where several speak of the same subject, also what sets it apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from scaling.errors import InputError
from scaling.fitted import Subject
from scaling.laws import Law, law_named


class Named(Protocol):
    @property
    def subject(self) -> Subject: ...
    @property
    def law(self) -> str: ...
    @property
    def method(self) -> str: ...


def name_of(one: Named, among: Sequence[Named]) -> str:
    """'neg_log_pass before RL'; among several about it 'neg_log_pass before RL (law without a floor)'."""
    same = [other for other in among if other.subject == one.subject]
    if len(same) < 2:
        return one.subject.label
    by_law = len({other.law for other in same}) == len(same)
    return f"{one.subject.label} ({law_title(one.law) if by_law else one.method})"


def law_title(law: str) -> str:
    """A law as words: its name, or what it lacks."""
    known = law_of(law)
    return "law without a floor" if known and known.straight else law


def law_of(name: str) -> Law | None:
    """The single law of that name; None for a pool, an average, or a law that this program does not know."""
    try:
        return law_named(name)
    except InputError:
        return None
