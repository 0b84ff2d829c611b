"""Which choice decides: every headline forecast under other objectives, cuts, floors and laws.

First, per question, what moves it most; all choices that were tried stand in an appendix.
"""

from __future__ import annotations

from collections.abc import Sequence

from reports.blocks import Block, Heading, Table, Text
from reports.claims import claim_name
from reports.inputs import ReportInput
from reports.text import MISSING, clean, fixed, places, span
from scaling.predictions import Claim
from scaling.sensitivities import Sensitivities

NEITHER = "neither"
BEYOND, OPEN = " *", " ?"
KINDS = ("as fitted", "objective", "without", "floor", "law")  # groups of the full table, in this order


def choice_blocks(report: ReportInput) -> list[Block]:
    """A row per headline claim: the choice that moves its question's own law most."""
    found = _examined(report)
    if not found:
        return []
    rows = [_decisive(report, c, s) for c, s in found]
    headers = ["claim", "own law", "as fitted, 90 %", "moved most by", "to", "by", "leaves 90 % of", "choices that do"]
    tones = ["bad" if row[6] not in (NEITHER, MISSING) else "" for row in rows]
    return [
        Heading("Which choice decides", "choices"),
        Text(
            "Each question's own law, fitted again with one choice changed. A forecast that leaves its 90 % interval "
            "under a choice that nobody can defend hangs on that choice. sd: half the width of its central 68 %. All "
            "choices: in the appendix."
        ),
        Table.of(headers, rows, tones=tones),
    ]


def appendix_blocks(report: ReportInput) -> list[Block]:
    """Every choice that was tried, for every headline question."""
    found = _examined(report)
    return [Heading("Appendix: every choice tried", "all-choices"), _table([s for _, s in found])] if found else []


def _examined(report: ReportInput) -> list[tuple[Claim, Sensitivities]]:
    return [(c, s) for c in report.shown_headlines if (s := _of(report, c)) is not None]


def _of(report: ReportInput, claim: Claim) -> Sensitivities | None:
    """The table of the claim's question: of its law, or (a pool, an average) of the question's own."""
    same = [s for s in report.sensitivities if s.subject == claim.subject and s.rows and s.fitted.interval]
    by_law = next((s for s in same if s.law == claim.law), None)
    forecast = report.forecast_of(claim)
    fit = report.fit_of(forecast) if forecast else None
    only = same[0] if len(same) == 1 else None
    return by_law or next((s for s in same if fit is not None and s.law == fit.law), only)


def _decisive(report: ReportInput, claim: Claim, s: Sensitivities) -> list[str]:
    """Claim, law, as fitted, the change, its median, the move, whose 90 % interval it leaves, how many choices do."""
    name, law = clean(claim_name(report.claims, claim)), clean(s.law)
    row, base = s.decisive, s.fitted
    assert base.interval is not None and base.median is not None  # _of lets no other through
    digits = places(*base.interval)
    own = f"{fixed(base.median, digits)} {span(*base.interval, digits)}"
    if row is None or row.median is None:
        return [name, law, own, "no other choice gave a forecast", *[MISSING] * 4]
    left = ["its law"] * s.beyond(row)
    if claim.law != s.law:
        low, high = claim.interval(0.9)
        left += ["the claim"] * (not low <= row.median <= high)
    usable = [r for r in s.changes if r.usable]
    many = f"{sum(map(s.beyond, usable))} of {len(usable)}"
    moved = str(row.cells[3])
    return [name, law, own, clean(row.change), fixed(row.median, digits), moved, " and ".join(left) or NEITHER, many]


def _table(found: Sequence[Sensitivities]) -> Table:
    """A row per choice, by kind; a column per question: median and 90 % interval. Folded on screen."""
    changes = sorted(dict.fromkeys(row.change for s in found for row in s.rows), key=_kind)
    rows = [[clean(change), *(_cell(s, change) for s in found)] for change in changes]
    headers = ["choice", *(f"{clean(s.subject.label)}, law {clean(s.law)}" for s in found)]
    caption = (
        f"Median and 90 % interval.{BEYOND}: median beyond the 90 % interval as fitted.{OPEN}: not determined by the "
        f"data. {MISSING}: no such choice."
    )
    return Table.of(headers, rows, caption=caption, brief=len(rows))


def _kind(change: str) -> int:
    return next((i for i, kind in enumerate(KINDS) if change.startswith(kind)), len(KINDS))


def _cell(s: Sensitivities, change: str) -> str:
    row = next((row for row in s.rows if row.change == change), None)
    if row is None or row.median is None or row.interval is None:
        return MISSING if row is None else clean(row.remark)
    digits = places(*row.interval)
    mark = BEYOND if s.beyond(row) else "" if row.usable else OPEN
    return f"{fixed(row.median, digits)} {span(*row.interval, digits)}{mark}"
