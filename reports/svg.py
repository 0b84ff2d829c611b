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

_NUMBER = re.compile(r"-?\d+\.\d+")
_COUNTED = re.compile(r"[A-Za-z0-9.]+_\d+")
_FAMILY = "font-family: 'DejaVu Sans'"
_GEOMETRY = ("d", "x", "y", "transform", "width", "height")

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
    unwanted = (f"{{{SVG_NS}}}metadata", f"{{{SVG_NS}}}style")  # `*{..}` would leak into the page
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in unwanted or _invisible(child):
                parent.remove(child)
    for element in root.iter():
        element.text, element.tail = (t if t and t.strip() else None for t in (element.text, element.tail))
        if element.get("transform", "").startswith("rotate(-0 "):
            del element.attrib["transform"]
        for key, value in element.attrib.items():
            element.set(key, _prefixed(key, _shorter(key, value), prefix))
        _share_style(element)
    _forget_names(root, prefix)
    _plain_texts(root)
    return ET.tostring(root, encoding="unicode")


def _invisible(element: ET.Element) -> bool:
    """A background that is neither filled nor stroked."""
    paths = list(element)
    return len(paths) == 1 and paths[0].tag == f"{{{SVG_NS}}}path" and paths[0].get("style") == "fill: none"


def _forget_names(root: ET.Element, prefix: str) -> None:
    """Names that matplotlib counted up and nobody refers to, and groups that hold one element and say nothing."""
    used = set(re.findall(r"#([^\")]+)", " ".join(v for e in root.iter() for v in e.attrib.values())))
    for element in root.iter():
        name = element.get("id", "")
        if name not in used and _COUNTED.fullmatch(name.removeprefix(f"{prefix}-")):
            del element.attrib["id"]
    for parent in list(root.iter()):
        for at, child in enumerate(list(parent)):
            while child.tag == f"{{{SVG_NS}}}g" and not child.attrib and len(child) == 1:
                child = child[0]
                parent[at] = child


def _plain_texts(root: ET.Element) -> None:
    """The family of all texts stands once; a tick looks as its mark says."""
    for element in root.iter():
        look = element.get("style", "")
        if element.tag == f"{{{SVG_NS}}}text":
            element.set("style", look.replace(f"{_FAMILY}; ", ""))
    root.set("style", _FAMILY)
    ticks = [e for e in root.iter(f"{{{SVG_NS}}}path") if e.get("id") and not e.get("d", "").endswith("z")]
    marks = {f"#{e.get('id')}": e.get("style", "") for e in ticks}  # open paths: what fills them is not seen
    for use in root.iter(f"{{{SVG_NS}}}use"):
        if "stroke: " in (mark := marks.get(use.get(f"{{{XLINK_NS}}}href", ""), "")) and mark in use.get("style", ""):
            del use.attrib["style"]


def _share_style(group: ET.Element) -> None:
    """Marks that all look alike say how once, in their group."""
    styles = {mark.get("style") for mark in group}
    if len(group) > 1 and all(mark.tag == f"{{{SVG_NS}}}use" for mark in group) and len(styles) == 1:
        (look,) = styles
        if look and not group.get("style"):
            group.set("style", look)
            for mark in group:
                del mark.attrib["style"]


def _shorter(key: str, value: str) -> str:
    """A twentieth of a point, a tenth of a screen's pixel, is the most that a coordinate may be off."""
    if key not in _GEOMETRY:
        return value
    text = " ".join(_NUMBER.sub(lambda m: f"{float(m[0]):.1f}".removesuffix(".0"), value).split())
    return _path(text) if key == "d" else text


def _path(d: str) -> str:
    """A path of straight lines by steps of tenths, rounded once, so that no error adds up; others as they are."""
    if re.search(r"[^MLz0-9. -]", d):
        return re.sub(r" ?([A-Za-z]) ?", r"\1", d)
    found: list[str] = []
    x = y = 0
    first = (0, 0)
    for command, pair in re.findall(r"([MLz]) ?([^MLz]*)", d):
        if command == "z":
            found.append("z")
            x, y = first
            continue
        to_x, to_y = (round(10 * float(number)) for number in pair.split())
        step = f"{_tenths(to_x - x)} {_tenths(to_y - y)}".replace(" -", "-")
        same = command == "L" and found and found[-1][0] == "l"
        found.append(f"{'' if step[0] == '-' else ' '}{step}" if same else f"{command.lower()}{step}")
        if same:
            found[-2:] = ["".join(found[-2:])]
        x, y = to_x, to_y
        first = (x, y) if command == "M" else first
    return "".join(found)


def _tenths(value: int) -> str:
    """'-.3', '12', '0'"""
    whole, tenth = divmod(abs(value), 10)
    digits = (f"{whole}" if whole or not tenth else "") + (f".{tenth}" if tenth else "")
    return f"-{digits}" if value < 0 else digits


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
    root.set("style", f"{root.get('style', '')}; aspect-ratio: {width} / {height}".removeprefix("; "))
    by_id = {e.attrib["id"]: e for e in root.iter() if "id" in e.attrib}
    for name, texts in points.items():
        marks = list(by_id[name].iter(f"{{{SVG_NS}}}use")) if name in by_id else []
        if len(marks) != len(texts):
            continue  # a point outside the axes is not drawn: better no names than wrong ones
        for mark, text in zip(marks, texts, strict=True):
            mark.set("tabindex", "0")
            mark.set("role", "img")
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
