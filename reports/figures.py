"""Charts of a report, as functions of series and nouns: (data, ax=None) -> Axes. Marks are labelled directly.

`panel(...)` turns one of them into a `Panel` block (SVG in the light palette, alternative text, point texts).
Users' words are cleaned before they come here and are never read as mathematics.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from reports.axes import LINEAR, TAG_SIZE, View, axis_title, compute_axis, decades, place_tags, value_axis
from reports.blocks import Panel
from reports.inputs import RunLook
from reports.series import FITTED, Series, residual_rows
from reports.svg import GRID, INK, MUTED, PALETTE, PAPER, style, to_svg
from reports.text import clean, number, shorten, whole
from scaling.trajectories import TAIL

Values = Sequence[float] | np.ndarray
BANDS = ((0.025, 0.975), (0.1, 0.9), (0.25, 0.75))  # 95, 80, 50 %: each drawn over the wider one
BAND_ALPHA = 0.16
STACK_ROW, STACK_MARGINS = 0.22, 0.64  # inches: one bar; above and below them
NAME_LENGTH = 44
MOST_NAMED = 60  # points that say what they are; of more, the misses alone do (all stand in the table)
EDGE = "largest run fitted"


def panel(
    prefix: str, width: float, height: float, alt: str, draw: Callable[[Axes], Any], *, left: float = 0.46
) -> Panel:
    """Draw into one figure of `width` x `height` inches. The callback may return {group id: texts of its points}."""
    with style():
        figure = Figure(figsize=(width, height))
        low, top = 0.40, 0.24
        box = (left / width, low / height, 1 - (left + 0.06) / width, 1 - (low + top) / height)
        ax = figure.add_axes(box)
        points = draw(ax)
        named = {f"{prefix}-{k}": tuple(v) for k, v in points.items()} if isinstance(points, dict) else {}
        return Panel(to_svg(figure, prefix), clean(alt), named)


def fan(
    series: Sequence[Series], ax: Axes | None = None, *, view: View = LINEAR, title: str = "", labels: bool = True
) -> Axes:
    """Metric against compute: bands of 50, 80 and 95 %, median (dashed beyond the data), runs, target, outcome."""
    ax = ax or _axes()
    tags: list[tuple[float, str, str]] = []
    for index, s in enumerate(series):
        tags += _draw_series(ax, s, _colour(s, series), view, f"points-{index}", labels)
    longest = max((len(text) for _, text, _ in tags), default=0)
    end = compute_axis(ax, series, room=0.12 + 0.6 * TAG_SIZE / 72 * longest if tags else 0.0)
    value_axis(ax, series, view)
    _draw_censored(ax, series, view)
    _draw_edge(ax, series, view, labels)
    place_tags(ax, tags, end)
    if title:
        ax.set_title(shorten(title, 44), loc="left", fontsize=8, color=INK, pad=5)
    return ax


def point_texts(series: Sequence[Series], view: View = LINEAR) -> dict[str, list[str]]:
    """Texts of the points that `fan` draws, by group, in drawing order."""
    found: dict[str, list[str]] = {}
    for index, s in enumerate(series):
        for kind, points in _groups(s, view):
            found[f"points-{index}-{kind}"] = [p.says for p in points]
    return found


def residuals(series: Series, ax: Axes | None = None) -> Axes:
    """Measured minus the forecast's median, in standard deviations of one run, against compute."""
    ax = ax or _axes()
    rows = residual_rows(series)
    x, z = [r.x for r in rows], [r.z for r in rows]
    for low, alpha in ((2, BAND_ALPHA), (1, BAND_ALPHA)):
        ax.axhspan(-low, low, color=MUTED, alpha=alpha * 0.6, lw=0)
    ax.axhline(0, color=MUTED, lw=0.8)
    ax.plot(x, z, "o", ms=4.2, color=_colour(series, [series]), mec=PAPER, mew=0.5, gid="points-0")
    ax.set_xscale("log")
    decades(ax, min(x), max(x))
    reach = max(2.6, 1.15 * max(abs(v) for v in z))
    ax.set_ylim(-reach, reach)
    ax.set_ylabel("residual / run-to-run sd", fontsize=7.5)
    ax.set_xlabel(axis_title(series.subject), fontsize=7.5)
    ax.set_title(shorten(series.subject.label, 44), loc="left", fontsize=8, color=INK, pad=5)
    return ax


def backtest(rows: Sequence[Any], ax: Axes | None = None) -> Axes:
    """Measured minus predicted, in half-widths of the 90 % interval, against how far ahead was predicted."""
    ax = ax or _axes()
    ax.axhspan(-1, 1, color=PALETTE["single"], alpha=BAND_ALPHA, lw=0)
    ax.axhline(0, color=MUTED, lw=0.8)
    inside = [r for r in rows if abs(r.offset) <= 1]
    outside = [r for r in rows if abs(r.offset) > 1]
    reach = min(8.0, max(2.0, 1.15 * max((abs(r.offset) for r in rows), default=1)))
    for name, part, role in (("inside", inside, "single"), ("outside", outside, "bad")):
        y = [min(max(r.offset, -reach * 0.97), reach * 0.97) for r in part]
        # many points share a factor: a fixed pattern spreads them, so that each is seen
        x = [r.factor * 1.012 ** ((7 * i) % 11 - 5) for i, r in enumerate(part)]
        if name == "inside" and len(rows) > MOST_NAMED:
            dots(ax, x, y, PAPER, 4.5)
            dots(ax, x, y, PALETTE[role], 3.5)
        else:
            ax.plot(x, y, "o", ms=4, color=PALETTE[role], mec=PAPER, mew=0.5, gid=f"points-{name}")
    ax.set_xscale("log")
    factors = [r.factor for r in rows]
    decades(ax, min(factors) / 1.15, max(factors) * 1.15, lambda v: f"{number(v)}x", fine=True)
    ax.set_ylim(-reach, reach)
    ax.set_xlabel("predicted how far beyond the data", fontsize=7.5)
    ax.set_ylabel("miss / half-width of 90 %", fontsize=7.5)
    ax.annotate("inside the 90 % interval", (0.99, -1), xycoords=("axes fraction", "data"), xytext=(0, -2),
                textcoords="offset points", ha="right", va="top", fontsize=6.5, color=PALETTE["single"])  # fmt: skip
    return ax


def coverage(rows: Sequence[tuple[float, float, float, float]], ax: Axes | None = None) -> Axes:
    """Share inside each central interval against its nominal level; the bars are what chance allows (95 %)."""
    ax = ax or _axes()
    ax.plot([0, 1], [0, 1], color=MUTED, lw=0.8)
    for nominal, low, high, _ in rows:
        ax.plot([nominal, nominal], [low, high], color=PALETTE["single"], lw=7, alpha=2 * BAND_ALPHA,
                solid_capstyle="butt")  # fmt: skip
    ax.plot([r[0] for r in rows], [r[3] for r in rows], "o", ms=4.5, color=PALETTE["single"], mec=PAPER, mew=0.5)
    ax.set_xlim(0.35, 1.02)
    ax.set_ylim(0, 1.05)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.0f} %"))
    ax.xaxis.set_major_locator(FixedLocator([r[0] for r in rows]))
    ax.grid(axis="y", color=GRID, lw=0.5)
    ax.set_xlabel("interval's nominal level", fontsize=7.5)
    ax.set_ylabel("outcomes inside", fontsize=7.5)
    return ax


def run_fan(look: RunLook, share: float, ax: Axes | None = None) -> Axes:
    """A run's rewards (known up to `share` of it; hollow: what came), and bands of 50, 80 and 95 % of its level."""
    ax = ax or _axes()
    run, colour = look.run, PALETTE["after"]
    for low, high in BANDS:
        ax.fill_between(look.x_G, look.level(low), look.level(high), color=colour, alpha=BAND_ALPHA, lw=0)
    ax.plot(look.x_G, look.level(0.5), color=colour, lw=1.2)
    known = run.x_n <= share * run.last
    dots(ax, run.x_n[known], run.y_n[known], INK, 2.0)
    dots(ax, run.x_n[~known], run.y_n[~known], MUTED, 2.2)
    dots(ax, run.x_n[~known], run.y_n[~known], PAPER, 1.3)
    ax.axvline(share * run.last, color=MUTED, lw=0.6, ls=":")
    ax.plot([(1 - TAIL) * run.last, run.last], [run.ending] * 2, color=PALETTE["outcome"], lw=2)
    ax.set_xlim(0, 1.02 * run.last)
    ax.set_xlabel(run.axis, fontsize=7.5)
    ax.set_ylabel(run.metric, fontsize=7.5)
    ax.set_title(shorten(look.name, 44), loc="left", fontsize=8, color=INK, pad=5)
    return ax


def stacked(bars: Sequence[Any], sources: Sequence[str], ax: Axes | None = None) -> Axes:
    """Horizontal bars of shares (`bars`: name, shares by source, sd as text), one colour per source, named above."""
    ax = ax or _axes()
    width = ax.get_window_extent().width / ax.figure.dpi
    room = 0.15 + 0.60 * 6.5 / 72 * max(len(bar.sd) for bar in bars)  # inches, for the standard deviations
    end = width / max(width - room, 0.5 * width)
    for row, bar in enumerate(bars):
        start = 0.0
        for source in sources:
            share = bar.shares.get(source, 0.0)
            ax.barh(row, share, left=start, height=0.64, color=part_colour(source), lw=0)
            if share >= 0.07:
                ax.text(start + share / 2, row, whole(share), ha="center", va="center", fontsize=6.5, color=PAPER)
            start += share
        ax.annotate(bar.sd, (1.0, row), xytext=(5, 0), textcoords="offset points", va="center", fontsize=6.5,
                    color=MUTED, annotation_clip=False)  # fmt: skip
    at = 0.0
    for source in sources:
        ax.annotate(source, (at, -0.5), xytext=(0, 4), textcoords="offset points", va="bottom", fontsize=TAG_SIZE,
                    fontweight="bold", color=part_colour(source), annotation_clip=False)  # fmt: skip
        at += (0.66 * TAG_SIZE / 72 * len(source) + 0.14) / width * end
    ax.set_xlim(0, end)
    ax.set_ylim(len(bars) - 0.5, -0.5)
    ax.set_yticks(range(len(bars)), [shorten(bar.name, NAME_LENGTH) for bar in bars])
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.spines["bottom"].set_bounds(0, 1)
    ax.xaxis.set_major_locator(FixedLocator([0, 0.25, 0.5, 0.75, 1]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: whole(v)))
    return ax


def part_colour(source: str) -> str:
    return PALETTE["part-" + source.replace(" ", "-")]


def label_room(names: Sequence[str]) -> float:
    """Inches that names left of the axes need."""
    return 0.12 + 0.60 * 7.5 / 72 * max(min(len(name), NAME_LENGTH) for name in names)


def dots(ax: Axes, x_n: Values, y_n: Values, colour: str, size: float) -> None:
    """Many dots as one path, a tenth of the bytes of as many marks: strokes of no length with round ends."""
    strokes(ax, x_n, y_n, y_n, color=colour, lw=size, solid_capstyle="round")


def strokes(ax: Axes, x_n: Values, low_n: Values, high_n: Values, **look: Any) -> None:
    """Upright strokes as one path."""
    x = np.stack([x_n, x_n, np.full(len(x_n), math.nan)], axis=1).ravel()
    y = np.stack([low_n, high_n, np.full(len(x_n), math.nan)], axis=1).ravel()
    (line,) = ax.plot(x, y, **look)
    line.get_path().should_simplify = False


# -- parts -------------------------------------------------------------------------------------------------------


def _axes() -> Axes:
    return Figure(figsize=(5, 3)).add_subplot()


def _colour(s: Series, among: Sequence[Series]) -> str:
    """Stages have their own colours where both can occur; a metric measured at one stage has its own."""
    if s.subject.stage == "rl":
        return PALETTE["after"]
    return PALETTE["single"] if s.subject.metric == "loss" else PALETTE["before"]


def _draw_series(ax: Axes, s: Series, colour: str, view: View, gid: str, labels: bool) -> list[tuple[float, str, str]]:
    """Draw one series; return the labels that stand at its right end: (value, text, colour)."""
    grid, middle = s.grid_G, view.shown(s.at_level(0.5))
    for low, high in BANDS:
        ax.fill_between(grid, view.shown(s.at_level(low)), view.shown(s.at_level(high)), color=colour,
                        alpha=BAND_ALPHA, lw=0)  # fmt: skip
    inside = grid <= s.max_x * 1.001
    ax.plot(grid[inside], middle[inside], color=colour)
    join = np.flatnonzero(inside)[-1] if inside.any() else 0
    ax.plot(grid[join:], middle[join:], color=colour, ls=(0, (4, 2)))
    for kind, points in _groups(s, view):
        x, y = [p.x for p in points], view.shown([p.value for p in points])
        if kind == "fitted":
            _error_bars(ax, points, view, colour)
        face = colour if kind == "fitted" else PAPER
        edge = PAPER if kind == "fitted" else colour
        ax.plot(x, y, "o", ms=4.4, color=face, mec=edge, mew=0.5 if kind == "fitted" else 1.0, ls="none",
                gid=f"{gid}-{kind}", zorder=3)  # fmt: skip
    named = view.name != "neg_log"  # there the axis shows another number than the label would
    tags = []
    if len(grid) == 1:
        ax.plot(grid, middle, "_", ms=9, color=colour)
    if s.target is not None and labels:
        at = s.target_column
        tags.append((float(middle[at]), f"{s.stage} {s.text(s.at_level(0.5)[at])}" if named else s.stage, colour))
    elif labels and len(middle):
        tags.append((float(middle[-1]), s.stage, colour))
    if s.measured is not None and s.target is not None:
        ax.plot([s.target], view.shown([s.measured]), "D", ms=6, color=PALETTE["outcome"], mec=PAPER, mew=0.8,
                zorder=4)  # fmt: skip
        if labels:
            text = f"outcome {s.text(s.measured)}" if named else "outcome"
            tags.append((float(view.shown([s.measured])[0]), text, PALETTE["outcome"]))
    return tags


def _draw_edge(ax: Axes, series: Sequence[Series], view: View, labels: bool) -> None:
    """Where the data end: a dotted line, named in the corner that the curves leave free."""
    edge = max((s.max_x for s in series), default=0.0)
    if not any(s.target and s.target > edge * 1.001 for s in series):
        return
    ax.axvline(edge, color=MUTED, lw=0.6, ls=(0, (1, 2)))
    first = view.shown(series[0].at_level(0.5))
    top = first[-1] > first[0]
    if labels:
        left = (ax.transData + ax.transAxes.inverted()).transform((edge, 0))[0] * ax.get_window_extent().width
        fits = left / ax.figure.dpi > 0.60 * 6.5 / 72 * len(EDGE)
        top = top if fits else not top  # right of the line the curves leave the other corner free
        ax.annotate(EDGE, (edge, 1.0 if top else 0.0), xycoords=("data", "axes fraction"),
                    xytext=(-3 if fits else 3, -1 if top else 2), textcoords="offset points",
                    ha="right" if fits else "left", va="top" if top else "bottom", fontsize=6.5,
                    color=MUTED)  # fmt: skip


def _groups(s: Series, view: View) -> list[tuple[str, list[Any]]]:
    drawn = [p for p in s.points if math.isfinite(float(view.shown([p.value])[0]))]
    if view.name != "linear":
        drawn = [p for p in drawn if float(view.shown([p.value])[0]) > 0]
    parts = [("fitted", [p for p in drawn if p.kind == FITTED]), ("other", [p for p in drawn if p.kind != FITTED])]
    return [(kind, points) for kind, points in parts if points]


def _error_bars(ax: Axes, points: Sequence[Any], view: View, colour: str) -> None:
    known = [p for p in points if p.se]
    low = view.shown([p.value - p.se for p in known])
    high = view.shown([p.value + p.se for p in known])
    keep = np.isfinite(low) & np.isfinite(high)
    strokes(ax, np.array([p.x for p in known])[keep], low[keep], high[keep], color=colour, lw=0.8)


def _draw_censored(ax: Axes, series: Sequence[Series], view: View) -> None:
    """A pass rate of 0 has no finite -log: an arrow at the chart's edge says 'at least this'."""
    if view.name != "neg_log":
        return
    for s in series:
        zero = [p for p in s.points if p.value <= 0]
        if not zero:
            continue
        top = ax.get_ylim()[1] ** 0.94 * ax.get_ylim()[0] ** 0.06
        ax.plot([p.x for p in zero], [top] * len(zero), "^", ms=5, color=PAPER, mec=_colour(s, series), mew=1.0,
                gid="censored", zorder=3)  # fmt: skip
        ax.annotate("p = 0", (zero[0].x, top), xytext=(5, -2), textcoords="offset points", fontsize=6.5, color=MUTED)
