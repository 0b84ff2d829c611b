"""A report that comes back: does it say what its proof gives, and does its page say what its model says?

What the ledger proves of a prediction is drawn again from the proof alone: the claims, their outcomes and scores, what
voids them, the remarks. A page of HTML is drawn again from the model that it carries. A page of PDF is not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from html.parser import HTMLParser
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from reports.blocks import Block, Bullets, Heading, Text, Warning
from reports.claims import claim_blocks, score_blocks
from reports.glance import glance_blocks
from reports.inputs import Receipt, ReportInput
from reports.record import assumption_blocks
from reports.text import clean
from scaling.errors import LedgerError, NotChecked
from scaling.predictions import Prediction
from scaling.records import plain, sha256
from scaling.registry.as_proven import record_of
from scaling.registry.exported import page_of, prediction_of
from scaling.registry.proofs import Proven

NOT_PROVEN = "title, figures, fits, back-tests, costs and notes are the report's own words: no proof of them is here"
BACKTESTED = re.compile(
    r" Of \S+ back-tests? \S+ \([^()]*\) lie inside 90 %\.\Z"
)  # what the report adds to how sure it is
CHANGED = "it was changed after it was made"
WHOLE = re.compile(r"\s*<!doctype html>.*</html>\s*", re.DOTALL)
SCRIPTS = 2  # of a page: the model that it carries, and what moves the slider


@lru_cache(maxsize=1)
def drawn_by() -> str:
    """Digest of the program that draws: another one may draw otherwise, which is then no sign of a change."""
    found = [f"{name} {version(name)}" for name in ("jinja2", "sympy")]
    for package in ("reports", "scaling"):
        folder = Path(str(files(package)))
        for path in sorted(folder.rglob("*")):
            if path.suffix in (".py", ".html", ".css", ".js"):
                found.append(f"{package}/{path.relative_to(folder).as_posix()} {sha256(path.read_bytes())}")
    return sha256("\n".join(found).encode())


def check_report(path: Path, model: Mapping[str, Any], proven: Proven) -> tuple[str, list[str]]:
    """Why the page was not checked ("" if it was), and what was found. `LedgerError`: it says something else.
    `NotChecked`: so it does, and by its own word, which nothing protects, another version of this program drew it."""
    prediction = prediction_of(proven)
    if prediction is None:
        return "the prediction is under embargo", []
    from jinja2 import TemplateError

    try:
        return _checked(path, model, proven, prediction)
    except (LookupError, TypeError, ValueError, AttributeError, TemplateError) as error:
        fault = LedgerError(f"the report's model is none that this program draws: {error!r:.120}", CHANGED)
    except LedgerError as error:
        fault = error
    if model["facts"].get("drawn_by") == drawn_by():
        raise fault
    check_any_version(path, model)
    raise NotChecked(
        "it says something else than its proof gives; either another version of this program made it or it was "
        f"changed ({fault.message})",
        "check it with the version that made it, or make the report anew from the ledger",
    )


def check_any_version(path: Path, model: Mapping[str, Any]) -> None:
    """What a page has, or lacks, in whichever version drew it."""
    first = next(iter(model["blocks"]), None) if isinstance(model.get("blocks"), list) else None
    if not isinstance(first, Mapping) or (first.get("kind"), first.get("role")) != (Text.kind, "lead"):
        raise LedgerError("the report does not begin with what is claimed and since when", CHANGED)
    form, page = page_of(path)
    if form != "html":
        return
    if not WHOLE.fullmatch(page) or page.count("</html>") > 1:
        raise LedgerError("the page has lines before its beginning or behind its end", CHANGED)
    found = _Active()
    found.feed(page)
    found.close()
    if found.scripts != SCRIPTS:
        raise LedgerError(f"the page has {found.scripts} scripts where {SCRIPTS} belong", CHANGED)
    if found.foreign:
        raise LedgerError(f"the page has {found.foreign[0]!r:.80}, which no version draws", CHANGED)


class _Active(HTMLParser):
    """What of a page could act: its scripts, and all that no report has (handlers, addresses that load or run)."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.foreign: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        if tag in ("base", "embed", "frame", "iframe", "link", "object"):
            self.foreign.append(f"<{tag}>")
        for name, value in attrs:
            address = (value or "").strip().lower()
            if name.startswith("on") or name == "srcdoc" or address.startswith("javascript:"):
                self.foreign.append(f"<{tag} {name}>")
            if name == "src" and (tag == "script" or not address.startswith("data:")):
                self.foreign.append(f"<{tag} {name}>")


def _checked(path: Path, model: Mapping[str, Any], proven: Proven, prediction: Prediction) -> tuple[str, list[str]]:
    record = record_of(proven, prediction)
    shown = ReportInput(
        title=str(model.get("title")),
        prediction=prediction,
        receipt=Receipt.of(proven, record.entry),
        resolution=record.resolution,
        outcome_receipt=Receipt.of(proven, record.outcomes[0]) if record.outcomes else None,
        course=record.course,
        scores=record.scores,
    )
    check_blocks(model.get("blocks"), shown, record.remarks)
    says = ["claims, outcomes, scores and what voids them are, word for word, what the proof gives", NOT_PROVEN]
    form, page = page_of(path)
    if form == "pdf":
        return "the pages of a PDF are not read", says
    if form == "html":
        check_page(page, model)
        says.append("the page is what this program draws of its model, figures by the digests that it states")
    return "", says


def check_blocks(blocks: Any, shown: ReportInput, remarks: Sequence[str]) -> None:
    """The model begins with what the proof gives, and nothing stands between."""
    if not isinstance(blocks, list) or not all(isinstance(b, Mapping) for b in blocks):
        raise LedgerError("the report's model has no blocks", CHANGED)
    found = [plain(b) for b in blocks]
    lead, *rest = claim_blocks(shown)
    warnings = [b for b in rest if isinstance(b, Warning)]
    (glance,) = glance_blocks(shown)
    stated = [b for b in rest if b not in (*warnings, glance)]
    _must(found[:1] == [_json(lead)], lead)
    at = next((i for i, b in enumerate(found) if i and b.get("kind") != Warning.kind), len(found))
    for warning in warnings:
        _must(_json(warning) in found[1:at], warning)
    _must(at < len(found) and _same_glance(_json(glance), found[at]), glance)
    for i, block in enumerate(stated, at + 1):
        _must(found[i : i + 1] == [_json(block)], block)
    for group in (score_blocks(shown), list(_ends(assumption_blocks(shown)))):
        for block in group:
            _must(_json(block) in found, block)
    notes = {item for b in found if b.get("kind") == Bullets.kind for item in b.get("items", ())}
    for remark in map(clean, remarks):
        _must(remark in notes, Text(remark))


def check_page(page: str, model: Mapping[str, Any]) -> None:
    """The page is what is drawn of the model; figures, of which the model states digests alone, have these digests."""
    from reports.render_html import FIGURE, page_of_model

    drawings = FIGURE.findall(page)
    stated = [b.get("drawn") for b in model["blocks"] if b["kind"] == "figure"]
    if [sha256(figure.encode()) for figure in drawings] != stated:
        raise LedgerError("the page's figures are not those of its model", CHANGED)
    without = {**model, "blocks": [b for b in model["blocks"] if b["kind"] != "figure"]}
    again, there = page_of_model(without, model).split("\n"), FIGURE.sub("", page).split("\n")
    for ours, theirs in zip(again, there, strict=False):
        if ours != theirs:
            raise LedgerError(f"the page says something else than its model: {_differing(ours, theirs)}", CHANGED)
    if len(again) != len(there):
        raise LedgerError("the page has other lines than its model gives", CHANGED)


def _differing(ours: str, theirs: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    return f"{theirs[max(0, at - 20) : at + 40]!r} where {ours[max(0, at - 20) : at + 40]!r} belongs"


def _same_glance(expected: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Costs and back-tests are the report's own: of the rows of these, the beginning that the proof gives."""
    rows, there = expected["rows"], found.get("rows")
    if not isinstance(there, list) or [r[:-1] for r in there] != [r[:-1] for r in rows]:
        return False
    for (question, given), (_, answer) in zip(rows, there, strict=True):
        own = answer.removeprefix(given) if question == "how sure" else ""
        if question != "cost" and answer != given + (own if BACKTESTED.match(own) else ""):
            return False
    return {**expected, "rows": there} == found


def _ends(blocks: Sequence[Block]) -> Iterator[Block]:
    """What voids the claim and how it is resolved: what is assumed is longer where forecasts are shown."""
    wanted = False
    for block in blocks:
        wanted = wanted or (isinstance(block, Heading) and block.anchor == "voids")
        if wanted:
            yield block


def _json(block: Block) -> Any:
    return plain(block.to_json())


def _must(holds: bool, block: Block) -> None:
    if not holds:
        said = " ".join(str(v) for v in vars(block).values() if v)[:100]
        raise LedgerError(f"the report does not say what its proof gives: {block.kind} {said!r}", CHANGED)
