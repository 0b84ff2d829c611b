"""From a matplotlib figure to SVG that can stand inside a page: own ids, no style sheet, light palette, text as text.

A drawing is made once, in the light palette. The HTML renderer replaces its colours by CSS variables (`themed`),
which is why every role has a colour of its own.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

from matplotlib import rc_context
from matplotlib.figure import Figure

PALETTE = {
    "ink": "#1d2126",
    "muted": "#5d656e",
    "grid": "#dfe3e7",
    "paper": "#fefefe",
    "before": "#2a6bb3",
    "after": "#bd5313",
    "single": "#1f7a68",
    "outcome": "#a3157c",
    "bad": "#b3261e",
    "part-parameters": "#3f72af",
    "part-law-form": "#b8701f",
    "part-misfit": "#8a5fb0",
    "part-seed": "#3c8759",
    "part-evaluation": "#6f7983",
}
INK, MUTED, GRID, PAPER = (PALETTE[n] for n in ("ink", "muted", "grid", "paper"))
SVG_NS, XLINK_NS = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "scaling-report",
    "font.family": ["DejaVu Sans"],
    "font.size": 8.0,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": MUTED,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "axes.unicode_minus": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "lines.linewidth": 1.4,
    "figure.facecolor": "none",
}

_LONG = re.compile(r"-?\d+\.\d{3,}")

ET.register_namespace("", SVG_NS)
ET.register_namespace("xlink", XLINK_NS)


def style() -> Any:
    """Context in which every drawing is made and written: nothing global is touched."""
    return rc_context(STYLE)


def to_svg(figure: Figure, prefix: str) -> str:
    """SVG text with every id under `prefix`; same figure, same bytes."""
    out = io.StringIO()
    with style(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the browser has more fonts than we
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    root = ET.fromstring(out.getvalue())  # our own output: no untrusted XML is ever parsed
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG_NS}}}metadata", f"{{{SVG_NS}}}style"):  # `*{..}` would leak into the page
                parent.remove(child)
    for element in root.iter():
        element.text, element.tail = (t if t and t.strip() else None for t in (element.text, element.tail))
        for key, value in element.attrib.items():
            element.set(key, _prefixed(key, _shorter(key, value), prefix))
    return ET.tostring(root, encoding="unicode")


def _shorter(key: str, value: str) -> str:
    """Hundredths of a point are enough for a coordinate."""
    if key not in ("d", "x", "y", "transform", "width", "height"):
        return value
    return " ".join(_LONG.sub(lambda m: f"{float(m[0]):.2f}", value).split())


def _prefixed(key: str, value: str, prefix: str) -> str:
    if key == "id":
        return f"{prefix}-{value}"
    if key.endswith("href") and value.startswith("#"):
        return f"#{prefix}-{value[1:]}"
    return re.sub(r"url\(#", f"url(#{prefix}-", value)


def themed(svg: str, alt: str, points: Mapping[str, Sequence[str]]) -> str:
    """For the page: colours as CSS variables, a role and a name, points that can be focused and name themselves."""
    root = ET.fromstring(svg)
    _, _, width, height = root.attrib["viewBox"].split()
    root.attrib.pop("width", None)
    root.attrib.pop("height", None)
    root.set("role", "group" if points else "img")
    root.set("aria-label", alt)
    root.set("style", f"aspect-ratio: {width} / {height}")
    by_id = {e.attrib["id"]: e for e in root.iter() if "id" in e.attrib}
    for name, texts in points.items():
        marks = list(by_id[name].iter(f"{{{SVG_NS}}}use")) if name in by_id else []
        if len(marks) != len(texts):
            continue  # a point outside the axes is not drawn: better no names than wrong ones
        for mark, text in zip(marks, texts, strict=True):
            mark.set("tabindex", "0")
            mark.set("role", "img")
            mark.set("aria-label", text)
            mark.set("class", "point")
            ET.SubElement(mark, f"{{{SVG_NS}}}title").text = text
    for element in root.iter():
        for key in list(element.attrib):
            if key == f"{{{XLINK_NS}}}href":
                element.set("href", element.attrib.pop(key))
            elif key in ("style", "fill", "stroke"):
                element.set(key, _variables(element.attrib[key]))
    return ET.tostring(root, encoding="unicode")


def _variables(value: str) -> str:
    for name, colour in PALETTE.items():
        value = value.replace(colour, f"var(--{name})")
    return value
