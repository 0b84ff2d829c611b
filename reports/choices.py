"""Which choice decides: every headline forecast under other objectives, cuts, floors and laws."""

from __future__ import annotations

from reports.blocks import Block, Heading, Table, Text
from reports.claims import claim_name
from reports.inputs import ReportInput
from reports.text import clean, compute, counted, fixed, places, span
from scaling.predictions import Claim
from scaling.sensitivities import Sensitivities

BRIEF = 5  # rows on paper: the forecast as fitted, and what moves it most


def choice_blocks(report: ReportInput) -> list[Block]:
    """One sentence and one table per headline question, by its own law."""
    found = [(c, s) for c in report.shown_headlines if (s := _of(report, c)) is not None]
    if not found:
        return []
    blocks: list[Block] = [
        Heading("Which choice decides", "choices"),
        Text(
            "Each question's own law, fitted again with one choice changed; what moves the forecast most comes first. "
            "sd: half the width of the central 68 % of the forecast as fitted. Red: beyond its 90 % interval. A "
            "forecast that leaves it under a choice that nobody can defend hangs on that choice."
        ),
    ]
    for i, (claim, s) in enumerate(found):
        name = clean(claim_name(report.claims, claim))
        blocks += [Heading(name, f"choices-{i}", 3), Text(sentence(claim, s)), _table(s)]
    return blocks


def _of(report: ReportInput, claim: Claim) -> Sensitivities | None:
    """The table of the claim's question: of its law, or (a pool, an average) of the question's own."""
    same = [s for s in report.sensitivities if s.subject == claim.subject and s.rows and s.fitted.interval]
    by_law = next((s for s in same if s.law == claim.law), None)
    forecast = report.forecast_of(claim)
    fit = report.fit_of(forecast) if forecast else None
    return by_law or next((s for s in same if fit is not None and s.law == fit.law), None)


def sentence(claim: Claim, s: Sensitivities) -> str:
    """'floor: 0 moves it most, from 0.50 to 0.42 (-1.08 sd), inside its 90 % interval [..]. None of 8 choices ...'"""
    row, base = s.decisive, s.fitted
    start = "" if claim.law == s.law else f"By the question's own law, {clean(s.law)}: "
    if row is None or row.median is None or base.interval is None:
        return f"{start}no other choice gave a forecast."
    digits = places(*base.interval)
    text = (
        f"{start}{clean(row.change)} moves it most, from {fixed(base.median, digits)} to {fixed(row.median, digits)} "
        f"({row.cells[3]}), {_side(s.beyond(row))} its 90 % interval {span(*base.interval, digits)}"
    )
    if claim.law != s.law:
        own = claim.interval(0.9)
        text += f" and {_side(not own[0] <= row.median <= own[1])} that of the claim, {span(*own, digits)}"
    usable = [r for r in s.changes if r.usable]
    beyond = sum(map(s.beyond, usable))
    return f"{text}. {beyond or 'None'} of {counted(len(usable), 'choice')} beyond it."


def _side(outside: bool) -> str:
    return "beyond" if outside else "inside"


def _table(s: Sensitivities) -> Table:
    rows = [s.fitted, *s.changes]
    cells = [[clean(c) if isinstance(c, str) else c for c in row.cells] for row in rows]
    tones = ["bad" if s.beyond(row) else "" for row in rows]
    headers = [f"at {compute(s.target)}", "forecast", "90 %", "moved", "remark"]
    return Table.of(headers, cells, tones=tones, brief=BRIEF)
