"""The report model: a title, facts about the file, and blocks. Plain JSON; two renderers print it, neither computes.

All texts are final strings (numbers included), cleaned when the document is made. Figures hold finished SVG.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar

from reports.text import clean, clean_all, csv_text, moment, number
from scaling.records import sha256

MODEL_VERSION = 1
_NUMBER = re.compile(r"[–∞]|[<>]?\s?-?\+?\[?[-+]?\d[-+\d.e, \[\]]*( ?(x|%|FLOP|s|min|h|of \d+))?")
FINISHED = ("svg", "csv")  # made of cleaned texts already, and their line ends count
MAX_ROWS = 200  # a longer table is cut in print; the CSV beside a figure keeps every row


@dataclass(frozen=True)
class Block:
    kind: ClassVar[str] = ""

    def to_json(self) -> dict[str, Any]:
        found: dict[str, Any] = {"kind": self.kind}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Block):
                value = value.to_json()
            elif isinstance(value, tuple):
                value = [v.to_json() if isinstance(v, Block) else v for v in value]
            found[f.name] = value if f.name in FINISHED else clean_all(value, f"{self.kind}.{f.name}")
        return found


@dataclass(frozen=True)
class Heading(Block):
    kind = "heading"
    text: str
    anchor: str
    level: int = 2


@dataclass(frozen=True)
class Text(Block):
    """A paragraph. `role` is "body", "lead" or "note"."""

    kind = "text"
    text: str
    role: str = "body"


@dataclass(frozen=True)
class Warning(Block):
    """Something a reader must not miss."""

    kind = "warning"
    text: str


@dataclass(frozen=True)
class Bullets(Block):
    kind = "bullets"
    items: tuple[str, ...]


@dataclass(frozen=True)
class Table(Block):
    """Cells are final strings. `tones` colours whole rows ("", "good", "bad"); `cut` counts rows left out.

    `wide` names the columns that take the space left over (free text), by index. A `brief` table of provenance is
    folded on screen and cut to that many rows on paper (0: neither).
    """

    kind = "table"
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""
    tones: tuple[str, ...] = ()
    cut: int = 0
    wide: tuple[int, ...] = ()
    numeric: tuple[bool, ...] = ()
    brief: int = 0

    @classmethod
    def of(
        cls,
        headers: Sequence[str],
        rows: Sequence[Sequence[Any]],
        *,
        caption: str = "",
        tones: Sequence[str] = (),
        wide: Sequence[int] = (),
        limit: int = MAX_ROWS,
        brief: int = 0,
    ) -> Table:
        shown = tuple(tuple(c if isinstance(c, str) else number(c) for c in row) for row in rows[:limit])
        numeric = tuple(bool(shown) and all(_numeric(row[i]) for row in shown) for i in range(len(headers)))
        return cls(
            tuple(headers), shown, caption, tuple(tones[:limit]), max(0, len(rows) - limit), tuple(wide), numeric, brief
        )


@dataclass(frozen=True)
class Panel(Block):
    """One drawing: SVG in the light palette, what it shows in words, and the texts of its points by element id."""

    kind = "panel"
    svg: str
    alt: str
    points: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Figure(Block):
    """Panels side by side (`columns` of them), one caption that says what each mark is, and the numbers drawn."""

    kind = "figure"
    anchor: str
    panels: tuple[Panel, ...]
    caption: str
    table: Table
    csv: str
    columns: int = 1

    @classmethod
    def of(
        cls,
        anchor: str,
        panels: Sequence[Panel],
        caption: str,
        headers: Sequence[str],
        rows: Sequence[Sequence[Any]],
        columns: int = 1,
    ) -> Figure:
        table = Table.of(headers, rows)
        return cls(anchor, tuple(panels), caption, table, csv_text(headers, rows), columns)


@dataclass(frozen=True)
class Formula(Block):
    """A law by name: the renderers look its formula up among the laws, and print `text` where they cannot."""

    kind = "formula"
    law: str
    text: str
    latex: str
    typst: str
    left: str
    says: str
    values: str = ""


@dataclass(frozen=True)
class ClaimCard(Block):
    """One headline claim. `tone`: "open" (no outcome yet), "good" (inside 90 %), "bad"; `facts` are label and value."""

    kind = "claim"
    title: str
    value: str
    sentence: str
    grade: str
    facts: tuple[tuple[str, str], ...]
    outcome: str = ""
    verdict: str = ""
    tone: str = "open"


@dataclass(frozen=True)
class ClaimCards(Block):
    kind = "claims"
    cards: tuple[ClaimCard, ...]


@dataclass(frozen=True)
class KeyFacts(Block):
    kind = "facts"
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Checklist(Block):
    """Groups of (question, answer); an empty answer prints NOT REPORTED."""

    kind = "checklist"
    groups: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]

    @property
    def unanswered(self) -> tuple[str, ...]:
        return tuple(q for _, items in self.groups for q, a in items if not a)


@dataclass(frozen=True)
class WhatIf(Block):
    """Predictive quantiles on a grid of compute, for the slider; `table` is what stands there without it.

    Each series: label, unit, levels, grid, quantiles_GL, max_x, earned, target, places, low, high, better, digest.
    """

    kind = "what_if"
    series: tuple[Mapping[str, Any], ...]
    table: Table


@dataclass(frozen=True)
class Document:
    """`made_at` is an ISO time taken from the ledger or the caller, never from the clock: bytes must reproduce.

    `proof` (scaling.registry.proofs) is carried as it is: its lines are hashed to the byte.
    """

    title: str
    subtitle: str
    blocks: tuple[Block, ...]
    made_at: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    proof: Mapping[str, Any] | None = None

    def to_json(self, *, drawings: bool = True, figures: bool = True) -> dict[str, Any]:
        """The whole model; without `drawings`, SVG and CSV are named by their SHA-256; without `figures`, their tables
        and the words of their points are left out too (in a page, all of that stands beside the model)."""
        blocks = [b.to_json() for b in self.blocks]
        for block in blocks if not drawings else ():
            for part in (block, *block.get("panels", ())):
                part.update({k: "sha256:" + sha256(part[k].encode()) for k in FINISHED if k in part})
        for block in (b for b in blocks if b["kind"] == Figure.kind and not figures):
            del block["table"]
            for part in block["panels"]:
                del part["points"]
        return {
            "v": MODEL_VERSION,
            "title": clean(self.title, where="title"),
            "subtitle": clean(self.subtitle, where="subtitle"),
            "made_at": moment(self.made_at),
            "facts": clean_all(dict(self.facts), "facts"),
            "blocks": blocks,
            **({"proof": dict(self.proof)} if self.proof else {}),
        }

    def find(self, kind: type[Any]) -> list[Any]:
        return [b for b in self.blocks if isinstance(b, kind)]


def _numeric(text: str) -> bool:
    """A value, an interval or a count, with or without a unit: set to the right."""
    return not text or _NUMBER.fullmatch(text) is not None
