"""Axes of the charts: how a value is shown, ticks that print as the texts do, labels beside the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from reports.series import Series
from reports.svg import GRID
from reports.text import number
from scaling.fitted import Subject
from scaling.metrics import metric as metric_named

TAG_SIZE = 7.5


@dataclass(frozen=True)
class View:
    """How a value is shown: "linear", "log", or "neg_log" (a pass rate as -log of it, where its law is a line)."""

    name: str = "linear"

    def shown(self, values: Any) -> np.ndarray:
        values = np.asarray(values, float)
        if self.name != "neg_log":
            return values
        with np.errstate(divide="ignore", invalid="ignore"):
            return -np.log(values)


LINEAR, LOG, NEG_LOG = View("linear"), View("log"), View("neg_log")


def compute_axis(ax: Axes, series: Sequence[Series], room: float) -> float:
    """Log axis over all that is drawn, with `room` inches for labels at the right. Returns where the data end."""
    xs = np.concatenate([np.concatenate([s.grid_G, [p.x for p in s.points]]) for s in series])
    low, high = float(xs.min()), float(max([xs.max(), *(s.target or 0 for s in series)]))
    span = math.log(high / low) or math.log(10)
    width = ax.get_window_extent().width / ax.figure.dpi
    room_share = room / max(width - room, 0.5)
    ax.set_xscale("log")
    decades(ax, low, high, left=low * math.exp(-0.05 * span), right=high * math.exp(0.02 * span + room_share * span))
    ax.set_xlabel(axis_title(series[0].subject), fontsize=7.5)
    return high


def axis_title(subject: Subject) -> str:
    """'pre-training compute [FLOP]'"""
    name = {"C_pre": "pre-training compute", "C_rl": "RL compute"}.get(subject.axis, "compute")
    return f"{name} [{'FLOP' if subject.axis.startswith('C') else subject.axis}]"


def decades(
    ax: Axes,
    low: float,
    high: float,
    text: Callable[[float], str] = lambda v: f"1e{round(math.log10(v))}",
    *,
    left: float | None = None,
    right: float | None = None,
    fine: bool = False,
) -> None:
    """Ticks at powers of ten inside the data (1, 2, 5 with `fine`), thinned to at most seven."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    steps = (1, 2, 5) if fine else (1,)
    ticks = [m * 10.0**e for e in range(first, last + 1) for m in steps if low * 0.7 <= m * 10.0**e <= high * 1.1]
    ticks = ticks[:: max(1, math.ceil(len(ticks) / 7))] or [low]
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda v, _: text(v)))
    ax.set_xlim(left or min(low, ticks[0]) / 1.3, right or max(high, ticks[-1]) * 1.3)


def value_axis(ax: Axes, series: Sequence[Series], view: View) -> None:
    values = [view.shown([p.value for p in s.points]) for s in series]
    values += [view.shown(s.at_level(level)) for s in series for level in (0.025, 0.975)]
    values += [view.shown([s.measured]) for s in series if s.measured is not None]
    seen = np.concatenate(values)
    seen = seen[np.isfinite(seen) & ((seen > 0) | (view.name == "linear"))]
    ax.grid(axis="y", color=GRID, lw=0.5)
    ax.set_axisbelow(True)
    ax.tick_params(axis="y", length=0)
    if not len(seen):
        return
    if view.name == "linear":
        _linear_limits(ax, float(seen.min()), float(seen.max()), series[0].subject.metric)
        return
    low, high = max(float(seen.min()), 0.3 * _lowest_mark(series, view)) / 1.15, float(seen.max()) * 1.25
    ticks = [m * 10.0**e for e in range(-9, 7) for m in (1, 2, 5) if low <= m * 10.0**e <= high]
    ax.set_yscale("log")
    ax.set_ylim(low, high)
    ax.yaxis.set_major_locator(FixedLocator(ticks[:: max(1, math.ceil(len(ticks) / 6))] or [low, high]))
    ax.yaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_formatter(FuncFormatter(lambda v, _: number(float(v), 2)))


def _lowest_mark(series: Sequence[Series], view: View) -> float:
    """Smallest positive value among points, medians and outcomes: a band that runs to 0 must not fill a log axis."""
    marks = [view.shown([p.value for p in s.points] + [s.measured or math.nan]) for s in series]
    marks += [view.shown(s.at_level(0.5)) for s in series]
    shown = np.concatenate(marks)
    shown = shown[np.isfinite(shown) & (shown > 0)]
    return float(shown.min()) if len(shown) else 0.0


def _linear_limits(ax: Axes, low: float, high: float, name: str) -> None:
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 1.0
    metric = metric_named(name)
    ax.set_ylim(max(low - margin, metric.low), min(high + margin, metric.high + (0.0 if metric.high > 1 else 0.02)))


def place_tags(ax: Axes, tags: Sequence[tuple[float, str, str]], x: float) -> None:
    """Labels (value, text, colour) right of `x`, at their value's height, pushed apart where they would overlap."""
    to_share = ax.transData + ax.transAxes.inverted()
    heights = [float(to_share.transform((x, value))[1]) for value, _, _ in tags]
    order = sorted((i for i in range(len(tags)) if math.isfinite(heights[i])), key=lambda i: heights[i])
    gap = TAG_SIZE * 1.35 / 72 / (ax.get_window_extent().height / ax.figure.dpi)
    placed: list[float] = []
    for i in order:
        lowest = placed[-1] + gap if placed else 0.03
        placed.append(max(min(heights[i], 0.97), lowest))
    over = max(0.0, placed[-1] - 0.98) if placed else 0.0
    for i, y in zip(order, placed, strict=True):
        ax.annotate(tags[i][1], (x, y - over), xycoords=("data", "axes fraction"), xytext=(6, 0), fontsize=TAG_SIZE,
                    textcoords="offset points", ha="left", va="center", color=tags[i][2])  # fmt: skip
