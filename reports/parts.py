"""What the uncertainty of a forecast is made of: shares of its variance by source, as bars and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reports import figures
from reports.blocks import Block, Bullets, Figure, Heading, Table, Text
from reports.claims import claim_name
from reports.inputs import ReportInput
from reports.text import MISSING, clean, listed, percent, significant, whole
from scaling.fitted import Forecast
from scaling.metrics import metric as metric_named
from scaling.parts import SOURCES
from scaling.predictions import Claim


@dataclass(frozen=True)
class Bar:
    """One headline claim: its shares by source, and its standard deviation as text, in the metric's unit."""

    name: str
    shares: dict[str, float]
    sd: str
    relative: str


def part_blocks(report: ReportInput) -> list[Block]:
    """Nothing where no part is known, as of quantiles read from a ledger alone."""
    claims = report.shown_headlines
    known = {c.id: f for c in claims if (f := _with_parts(report, c)) is not None}
    if not known:
        return []
    bars = [_bar(clean(claim_name(report.claims, c)), known[c.id]) for c in claims if c.id in known]
    unknown = [clean(claim_name(report.claims, c)) for c in claims if c.id not in known]
    sources = [s for s in SOURCES if any(s in bar.shares for bar in bars)]
    text = f"{_largest(bars)} Shares are those of the variance at the target, on the scale that was fitted."
    if unknown:
        text += f" Not known: {listed(unknown)}, whose registered draws the present program and data do not give again."
    return [
        Heading("What the uncertainty is made of", "parts"),
        Text(text),
        _figure(bars, sources),
        _table(bars, sources),
        Bullets(tuple(f"{source}: {SOURCES[source]}." for source in sources)),
    ]


def _with_parts(report: ReportInput, claim: Claim) -> Forecast | None:
    """The forecast with the claim's own draws, if it says what they are made of."""
    forecast = report.forecast_of(claim)
    same = forecast is not None and forecast.draws_digest == claim.draws_digest
    return forecast if same and forecast is not None and forecast.shares else None


def _bar(name: str, f: Forecast) -> Bar:
    unit = metric_named(f.subject.metric).unit
    relative = percent(f.sd / f.median) if f.median > 0 else MISSING
    return Bar(name, f.shares, f"{significant(f.sd)} {unit}".strip(), relative)


def _largest(bars: Sequence[Bar]) -> str:
    """'The largest source is parameters for A and B, seed for C.'"""
    found: dict[str, list[str]] = {}
    for bar in bars:
        found.setdefault(max(bar.shares, key=bar.shares.__getitem__), []).append(bar.name)
    if len(found) == 1 and len(bars) > 1:
        return f"The largest source of every headline claim is {next(iter(found))}."
    return "The largest source is " + "; ".join(f"{s} for {listed(names)}" for s, names in found.items()) + "."


def _figure(bars: Sequence[Bar], sources: Sequence[str]) -> Figure:
    alt = "Shares of the variance by source. " + " ".join(
        f"{bar.name}: " + ", ".join(f"{s} {whole(v)}" for s, v in bar.shares.items()) + f"; sd {bar.sd}."
        for bar in bars
    )
    left = figures.label_room([bar.name for bar in bars])
    height = figures.STACK_MARGINS + figures.STACK_ROW * len(bars)
    panel = figures.panel("parts", 6.9, height, alt, lambda ax: figures.stacked(bars, sources, ax), left=left)
    caption = ("One bar per headline claim, its whole length the variance of the forecast at the target; at the right "
               "the standard deviation (half the width of the central 68 %).")  # fmt: skip
    rows = [(bar.name, s, v, bar.sd) for bar in bars for s, v in bar.shares.items()]
    headers = ("claim", "source", "share of the variance", "sd of the whole")
    return Figure.of("parts-figure", [panel], caption, headers, rows)


def _table(bars: Sequence[Bar], sources: Sequence[str]) -> Table:
    rows = [
        [bar.name, *(whole(bar.shares[s]) if s in bar.shares else MISSING for s in sources), bar.sd, bar.relative]
        for bar in bars
    ]
    gaps = any(MISSING in row for row in rows)
    return Table.of(
        ["claim", *sources, "sd", "sd / median"],
        rows,
        caption=f"{MISSING}: not known, and no part of the sum (one law cannot tell its own form's)." * gaps,
    )
