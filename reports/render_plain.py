"""A plain PDF by matplotlib, for systems without a typst wheel: every text and table, no drawings, model attached."""

from __future__ import annotations

import io
import textwrap
from typing import Any

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from pypdf import PdfReader, PdfWriter

from reports.blocks import Document
from reports.svg import INK, style
from scaling.cli import table as text_table
from scaling.records import canonical

WIDTH, LINES = 118, 84  # characters a line, lines a page, at this size on A4
FONT_SIZE = 7.0


def plain_pdf_of(document: Document, attach_as: str) -> bytes:
    """Monospaced pages. The drawings are in the HTML; here their captions and alternative texts stand instead."""
    model = document.to_json()
    remark = "Set without typst: no drawings and no tags in this file; the HTML has them."
    lines = [model["title"], f"{model['subtitle']} {model['made_at']}", remark, ""]
    for block in model["blocks"]:
        lines += [*_lines(block), ""]
    out = io.BytesIO()
    with style(), PdfPages(out, metadata={"CreationDate": None, "Title": model["title"]}) as pages:
        for start in range(0, len(lines), LINES):
            page = Figure(figsize=(8.27, 11.69))
            page.text(0.06, 0.96, "\n".join(lines[start : start + LINES]), va="top", fontsize=FONT_SIZE, color=INK,
                      family="DejaVu Sans Mono", linespacing=1.3)  # fmt: skip
            pages.savefig(page)
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(out.getvalue())))
    writer.add_attachment(attach_as, canonical(document.to_json(drawings=False)))
    final = io.BytesIO()
    writer.write(final)
    return final.getvalue()


def _lines(block: dict[str, Any]) -> list[str]:
    kind = block["kind"]
    if kind == "heading":
        return [block["text"].upper() if block["level"] == 2 else block["text"]]
    if kind in ("text", "warning"):
        return _wrapped(("NOTE: " if kind == "warning" else "") + block["text"])
    if kind == "bullets":
        return [line for item in block["items"] for line in _wrapped(f"- {item}")]
    if kind == "claims":
        return [line for card in block["cards"] for line in _card(card)]
    if kind == "table":
        return _table(block)
    if kind == "figure":
        texts = [*(p["alt"] for p in block["panels"]), block["caption"]]
        return [line for text in texts for line in _wrapped(text)]
    if kind == "formula":
        return _wrapped(f"{block['left']} = {block['text']}   ({block['law']}) {block['says']} {block['values']}")
    if kind == "facts":
        return [line for label, value in block["items"] for line in _wrapped(f"{label}: {value}")]
    if kind == "what_if":
        return _table(block["table"])
    groups = block["groups"] if kind == "checklist" else []
    return [
        t for g, items in groups for t in [g, *(x for q, a in items for x in _wrapped(f"{q}: {a or 'NOT REPORTED'}"))]
    ]


def _card(card: dict[str, Any]) -> list[str]:
    found = [f"{card['title']}: {card['value']} ({card['grade']})", *_wrapped(card["sentence"])]
    found += [f"{label}: {value}" for label, value in card["facts"]]
    return found + ([f"measured {card['outcome']}: {card['verdict']}"] if card["outcome"] else []) + [""]


def _table(block: dict[str, Any]) -> list[str]:
    """Aligned where it fits the page, one row after the other where it does not."""
    lines = text_table(block["headers"], block["rows"]).splitlines() if block["rows"] else []
    if max(map(len, lines), default=0) > WIDTH:
        pairs = ["; ".join(f"{h} {c}" for h, c in zip(block["headers"], row, strict=True)) for row in block["rows"]]
        lines = [line for text in pairs for line in _wrapped(text)]
    return [*_wrapped(block["caption"]), *lines, *([f"{block['cut']} more rows"] if block["cut"] else [])]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="  ")
