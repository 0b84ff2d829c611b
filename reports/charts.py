"""The charts of a report: forecasts against data, a panel per bucket, residuals. `figures.py` draws them."""

from __future__ import annotations

from collections.abc import Sequence

from reports import axes, figures
from reports.blocks import Block, Figure, Heading, Panel
from reports.series import ROW_HEADERS, Series, headline_series, residual_rows
from reports.text import clean, compute, counted, listed, number
from scaling.names import law_of
from scaling.observations import OVERALL

MAX_PANELS = 24
TITLES = {"loss": "held-out loss [nats per token]", "neg_log_pass": "-E[log pass rate] [nats]"}
SIZES = {1: (6.9, 1.95), 2: (3.4, 2.2), 3: (2.25, 1.8)}  # inches, by panels in a row


def fan_blocks(series: Sequence[Series]) -> list[Block]:
    """One figure per metric of the whole problem set; a pass rate also as -log of it on two log scales."""
    groups: dict[str, list[Series]] = {}
    for s in headline_series(series):
        groups.setdefault(s.subject.metric, []).append(s)
    blocks: list[Block] = [Heading("Forecasts and data", "forecasts")] if groups else []
    for metric, members in groups.items():
        blocks.append(_fan_figure(metric, members))
    return blocks


def _fan_figure(metric: str, members: Sequence[Series]) -> Figure:
    anchor = f"fan-{_slug(metric)}"
    alt = " ".join(_says(s) for s in members)
    if metric == "pass_rate":
        panels = [
            _fan_panel(f"{anchor}-a", members, axes.LINEAR, "mean pass rate", alt, 2),
            _fan_panel(f"{anchor}-b", members, axes.NEG_LOG, "-log of the mean pass rate", alt, 2),
        ]
    else:
        view = axes.LOG if metric == "neg_log_pass" else axes.LINEAR
        panels = [_fan_panel(anchor, members, view, clean(TITLES.get(metric, metric)), alt, 1)]
    rows = [row for s in members for row in s.rows]
    return Figure.of(anchor, panels, _fan_caption(members), ROW_HEADERS, rows, columns=len(panels))


def _fan_panel(prefix: str, members: Sequence[Series], view: axes.View, title: str, alt: str, columns: int) -> Panel:
    def draw(ax: figures.Axes) -> dict[str, list[str]]:
        figures.fan(members, ax, view=view, title=title)
        return figures.point_texts(members, view)

    return figures.panel(prefix, *SIZES[columns], f"{title} against compute. {alt}", draw)


def _says(s: Series) -> str:
    """One sentence for who cannot see the chart."""
    text = f"{s.subject.label}: {counted(len(s.points), 'run')}"
    if s.points:
        first, last = min(s.points, key=lambda p: p.x), max(s.points, key=lambda p: p.x)
        text += f" from {number(first.value)} at {compute(first.x)} to {number(last.value)} at {compute(last.x)}"
    if s.target is not None:
        at = s.target_column
        low, high = s.at_level(0.05)[at], s.at_level(0.95)[at]
        text += f"; predicted {s.text(s.at_level(0.5)[at])} (90 %: {s.text(low)} to {s.text(high)})"
        text += f" at {compute(s.target)}"
    return text + (f"; measured {s.text(s.measured)}." if s.measured is not None else ".")


def _fan_caption(members: Sequence[Series]) -> str:
    parts = ["Filled points: runs in the fit, with their standard error."]
    if any(p.kind != "fitted" for s in members for p in s.points):
        parts.append("Hollow points: runs not in the fit.")
    if all(s.predictive for s in members):
        parts.append("Line: predicted median, dashed beyond the largest fitted run. Bands: 50, 80 and 95 % of the "
                     "measured values one run can give.")  # fmt: skip
    else:
        parts.append("Line and bands: the fitted law and 50, 80 and 95 % of what else it could be (not of new runs).")
    mixed = {kind: [s.stage for s in members if s.law == kind] for kind in dict.fromkeys(s.law for s in members)}
    for kind, stages in mixed.items():
        if kind and not law_of(kind):
            where = f" ({listed(stages)})" if len(stages) < len(members) else ""
            parts.append(f"Forecast{where} by {clean(kind)}: no single law's curve is drawn.")
    if others := [clean(name) for s in members for name in s.undrawn]:
        parts.append(f"Not drawn: {listed(others)}.")
    if any(s.measured is not None for s in members):
        parts.append("Diamond: the outcome, which no fit has seen.")
    if any(p.value <= 0 for s in members for p in s.points) and members[0].subject.metric == "pass_rate":
        parts.append("Arrows: runs without a single pass, whose -log is at least this large.")
    return " ".join(parts)


def bucket_blocks(series: Sequence[Series]) -> list[Block]:
    """Small multiples: a panel per metric and bucket, both stages in it, on shared scales per metric."""
    groups: dict[tuple[str, str], list[Series]] = {}
    for s in series:
        if s.subject.bucket != OVERALL and s not in headline_series(series):
            groups.setdefault((s.subject.metric, s.subject.bucket), []).append(s)
    if not groups:
        return []
    panels, rows, columns = [], [], _columns(len(groups))
    for index, ((metric, bucket), members) in enumerate(list(groups.items())[:MAX_PANELS]):
        panels.append(_bucket_panel(f"bucket-{index}", metric, bucket, members, columns))
        rows += [row for s in members for row in s.rows]
    caption = "One panel per bucket; marks and bands as above; each panel has its own scale."
    if len(groups) > MAX_PANELS:
        caption += f" {len(groups) - MAX_PANELS} more buckets are in the table of claims only."
    if len({s.subject.stage for g in groups.values() for s in g}) > 1:
        caption += " Blue: before RL. Orange: after RL."
    return [
        Heading("By bucket", "buckets"),
        Figure.of("buckets-figure", panels, caption, ROW_HEADERS, rows, columns=columns),
    ]


def _bucket_panel(prefix: str, metric: str, bucket: str, members: Sequence[Series], columns: int) -> Panel:
    view = axes.LOG if metric == "neg_log_pass" else axes.LINEAR
    grades = {s.grade for s in members if s.grade}
    title = f"{clean(bucket)}" + (f" · {grades.pop()}" if len(grades) == 1 else "")

    def draw(ax: figures.Axes) -> dict[str, list[str]]:
        figures.fan(members, ax, view=view, title=title, labels=False)
        return figures.point_texts(members, view)

    alt = f"{metric} in bucket {bucket} against compute. " + " ".join(_says(s) for s in members)
    return figures.panel(prefix, *SIZES[columns], alt, draw, left=0.36)


def residual_blocks(series: Sequence[Series]) -> list[Block]:
    members = [s for s in headline_series(series) if residual_rows(s)][:6]
    if not members:
        return []
    panels, rows, columns = [], [], _columns(len(members))
    for i, s in enumerate(members):
        found = residual_rows(s)
        worst = max(found, key=lambda r: abs(r.z))
        alt = (f"Residuals of {s.subject.label}: {len(found)} runs, the largest {number(worst.z, 2)} standard "
               f"deviations at {compute(worst.x)}.")  # fmt: skip
        panels.append(_residual_panel(f"residual-{i}", s, alt, columns))
        rows += [(s.subject.label, r.point.trial, r.x, r.point.value, r.fitted, r.z) for r in found]
    headers = ("what", "run", "compute [FLOP]", "measured", "median", "residual / sd")
    caption = ("Each fitted run minus the median drawn in the charts above (the forecast's own, whatever made it), in "
               "units of the run-to-run standard deviation; bands at 1 and 2. A bend: the form is wrong.")  # fmt: skip
    return [
        Heading("Residuals", "residuals"),
        Figure.of("residuals-figure", panels, caption, headers, rows, columns=columns),
    ]


def _residual_panel(prefix: str, s: Series, alt: str, columns: int) -> Panel:
    def draw(ax: figures.Axes) -> dict[str, list[str]]:
        figures.residuals(s, ax)
        return {"points-0": [f"{r.point.says}: residual {number(r.z, 2)} sd" for r in residual_rows(s)]}

    return figures.panel(prefix, *SIZES[columns], alt, draw, left=0.36)


def _columns(panels: int) -> int:
    """Two or three in a row, whichever leaves no lonely last one."""
    return 2 if panels in (1, 2, 4) else 3


def _slug(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in clean(name).lower())[:40] or "metric"
