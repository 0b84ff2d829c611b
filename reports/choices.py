"""Which choice decides: every headline forecast under other objectives, cuts, floors and laws."""

from __future__ import annotations

from collections.abc import Sequence

from reports.blocks import Block, Bullets, Heading, Table, Text
from reports.claims import claim_name
from reports.inputs import ReportInput
from reports.text import MISSING, clean, counted, fixed, places, span
from scaling.predictions import Claim
from scaling.sensitivities import Sensitivities, Sensitivity

BEYOND, OPEN = " *", " (not determined)"


def choice_blocks(report: ReportInput) -> list[Block]:
    """One sentence per headline claim about its question's own law, then all choices in one table."""
    found = [(c, s) for c in report.shown_headlines if (s := _of(report, c)) is not None]
    if not found:
        return []
    sentences = tuple(f"{clean(claim_name(report.claims, c))}: {sentence(c, s)}" for c, s in found)
    return [
        Heading("Which choice decides", "choices"),
        Text(
            "Each question's own law, fitted again with one choice changed. A forecast that leaves its own 90 % "
            "interval under a choice that nobody can defend hangs on that choice. sd: half the width of its central "
            "68 %."
        ),
        Bullets(sentences),
        _table([s for _, s in found]),
    ]


def _of(report: ReportInput, claim: Claim) -> Sensitivities | None:
    """The table of the claim's question: of its law, or (a pool, an average) of the question's own."""
    same = [s for s in report.sensitivities if s.subject == claim.subject and s.rows and s.fitted.interval]
    by_law = next((s for s in same if s.law == claim.law), None)
    forecast = report.forecast_of(claim)
    fit = report.fit_of(forecast) if forecast else None
    only = same[0] if len(same) == 1 else None
    return by_law or next((s for s in same if fit is not None and s.law == fit.law), only)


def sentence(claim: Claim, s: Sensitivities) -> str:
    """'moved most by another floor, 0: from 0.50 to 0.42 (-1.08 sd), inside its 90 % interval [..]. None of 8 ...'"""
    row, base = s.decisive, s.fitted
    own = "" if claim.law == s.law else f"its own law, {clean(s.law)}, is "
    if row is None or row.median is None or base.median is None or base.interval is None:
        return f"{own}not to be changed: no other choice gave a forecast."
    digits = places(*base.interval)
    text = (
        f"{own}moved most by {_spoken(row)}: from {fixed(base.median, digits)} to {fixed(row.median, digits)} "
        f"({row.cells[3]}), {_side(s.beyond(row))} its 90 % interval {span(*base.interval, digits)}"
    )
    if claim.law != s.law:
        low, high = claim.interval(0.9)
        text += f" and {_side(not low <= row.median <= high)} the claim's {span(low, high, digits)}"
    usable = [r for r in s.changes if r.usable]
    return f"{text}. {sum(map(s.beyond, usable)) or 'None'} of {counted(len(usable), 'choice')} beyond its interval."


def _spoken(row: Sensitivity) -> str:
    kind, colon, what = clean(row.change).partition(": ")
    return f"another {kind}, {what}" if colon else f"fitting {kind}"


def _side(outside: bool) -> str:
    return "beyond" if outside else "inside"


def _table(found: Sequence[Sensitivities]) -> Table:
    """A row per choice, a column per question: median and 90 % interval."""
    changes = list(dict.fromkeys(row.change for s in found for row in s.rows))
    rows = [[clean(change), *(_cell(s, change) for s in found)] for change in changes]
    headers = ["choice", *(f"{clean(s.subject.label)}, law {clean(s.law)}" for s in found)]
    caption = (
        f"Median and 90 % interval.{BEYOND}: median beyond the 90 % interval as fitted. {MISSING}: no such choice."
    )
    return Table.of(headers, rows, caption=caption)


def _cell(s: Sensitivities, change: str) -> str:
    row = next((row for row in s.rows if row.change == change), None)
    if row is None or row.median is None or row.interval is None:
        return MISSING if row is None else clean(row.remark)
    digits = places(*row.interval)
    mark = BEYOND if s.beyond(row) else "" if row.usable else OPEN
    return f"{fixed(row.median, digits)} {span(*row.interval, digits)}{mark}"
