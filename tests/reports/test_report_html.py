"""The HTML report: self-contained, inert whatever the words in it say, readable by machine and without scripts."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from report_example import example

from reports import Document, forecast_document
from reports.blocks import Figure
from reports.render_html import FIGURE, embedded_json, html_of, mathml, template
from reports.svg import PALETTE, _path, themed
from scaling.laws import LAWS
from scaling.records import sha256

EVENTS = re.compile(r"\Aon[a-z]+\Z")
LOADING = {"src", "srcset", "href", "action", "formaction", "data", "poster", "background", "xlink:href", "ping"}


class Page(HTMLParser):
    """Elements with attributes, text outside scripts, and the scripts."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.raw: dict[str, list[str]] = {"script": [], "style": []}
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag if tag in self.raw else ""

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        (self.raw[self._inside] if self._inside else self.words).append(data)


@pytest.fixture(scope="module")
def hostile_page(hostile_document: Document) -> str:
    return html_of(hostile_document)


def test_nothing_is_loaded(page: str) -> None:
    for tag, attributes in Page(page).elements:
        assert tag not in ("link", "iframe", "object", "embed", "img", "base", "form", "video", "audio", "image"), tag
        for name in LOADING & set(attributes):
            assert re.match(r"#|data:text/csv", attributes[name] or ""), (tag, attributes[name])
    assert not re.search(r"url\((?!#)", page)
    assert "@import" not in page


def test_policy_allows_our_own_script_and_style_only(page: str) -> None:
    parsed = Page(page)
    policy = next(a["content"] for t, a in parsed.elements if t == "meta" and "http-equiv" in a) or ""
    rules = dict(r.strip().split(" ", 1) for r in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["style-src-attr"] == "'unsafe-inline'"
    assert "style-src" not in rules  # a hash there would blacken every figure
    for rule, text in (("script-src", parsed.raw["script"][-1]), ("style-src-elem", "".join(parsed.raw["style"]))):
        found = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{found}'"


def test_the_model_can_be_read_back(page: str, document: Document) -> None:
    model = json.loads(Page(page).raw["script"][0])
    drawn = [block.pop("drawn") for block in model["blocks"] if block["kind"] == "figure"]
    assert drawn == [sha256(figure.encode()) for figure in FIGURE.findall(page)] and len(drawn) > 3
    assert model == json.loads(json.dumps(document.to_json(drawings=False, figures=False)))
    assert not [b for b in model["blocks"] if b["kind"] == "figure" and "table" in b]  # they stand in the page itself
    assert model["facts"]["entry"] == "ef" * 32
    assert len(model["facts"]["claims"]["rl.pass_rate.all"]["quantiles"]) == 23
    assert all(p["svg"].startswith("sha256:") for b in model["blocks"] for p in b.get("panels", ()))


def test_embedded_json_cannot_leave_its_element() -> None:
    text = embedded_json({"a": "</script><!-- & \u2028"})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": "</script><!-- & \u2028"}


def test_works_without_scripts(page: str) -> None:
    hidden = [a for _, a in Page(page).elements if a.get("class") == "what-if"]
    assert len(hidden) == 1
    assert "hidden" in hidden[0]
    assert "What other budgets would give" in page


def test_drawings_follow_the_page(page: str, document: Document) -> None:
    drawings = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(drawings) == sum(len(f.panels) for f in document.find(Figure))
    for svg in drawings:
        assert "<style" not in svg
        assert "<metadata" not in svg
        assert "var(--" in svg
        assert not [c for c in PALETTE.values() if c in svg]
        assert not re.findall(r"#[0-9a-f]{6}\b", re.sub(r'(href="|url\(|id=")#?[^")]*', "", svg)), "a colour of no role"
        assert 'aria-label="' in svg


def test_every_closed_mark_has_its_colour(document: Document) -> None:
    for panel in (p for f in document.find(Figure) for p in f.panels):
        root = ET.fromstring(themed(panel.svg, panel.alt, panel.points))
        above = {child: parent for parent in root.iter() for child in parent}
        closed = {f"#{e.get('id')}" for e in root.iter() if e.get("id") and e.get("d", "").endswith("z")}
        marks = [e for e in root.iter() if e.tag.endswith("}use") and e.get("href") in closed]
        for mark in marks:
            look = mark.get("style") or above[mark].get("style") or ""
            assert re.search(r"fill: var\(--[a-z]+\)", look), (panel.alt, look)


def test_every_colour_role_has_a_light_and_a_dark_value() -> None:
    css = template("style.css")
    for name, colour in PALETTE.items():
        assert f"--{name}: {colour}" in css
        assert len(re.findall(rf"--{name}: #", css)) == 2


def test_ids_are_unique_and_references_resolve(page: str) -> None:
    ids = Counter(a["id"] for _, a in Page(page).elements if "id" in a)
    assert not [i for i, n in ids.items() if n > 1]
    for target in re.findall(r'(?:href="#|url\(#)([^")]+)', page):
        assert target in ids, target


def test_points_can_be_focused_and_name_themselves(page: str, document: Document) -> None:
    points = re.findall(r'<use [^>]*class="point"[^>]*><title>([^<]*)</title></use>', page)
    texts = [t for f in document.find(Figure) for p in f.panels for texts in p.points.values() for t in texts]
    assert sorted(points) == sorted(texts) and len(points) > 100
    assert all("FLOP" in text for text in points)
    assert page.count('class="point"') == page.count('tabindex="0" role="img" class="point"') == len(points)


def test_many_backtests_are_all_drawn_and_the_misses_named() -> None:
    report = example(first=1)
    row = report.backtests[0]
    missed = replace(row, actual=row.quantiles[-1] + 1)
    document = forecast_document(replace(report, backtests=[row] * 80 + [missed] * 3))
    panel = next(f for f in document.find(Figure) if f.anchor == "backtests-figure").panels[0]
    assert {name: len(texts) for name, texts in panel.points.items()} == {"backtest-points-outside": 3}
    assert sum(d.count("m") + d.count("M") for d in re.findall(r' d="([^"]*)"', panel.svg)) > 2 * 80  # two rings each


def test_a_path_by_steps_ends_where_it_should() -> None:
    rng = np.random.default_rng(3)
    points = rng.uniform(-300, 300, (200, 2)).round(1)
    text = "M " + " L ".join(f"{x:.1f} {y:.1f}" for x, y in points) + " z M 1.0 2.0 L 1.0 2.0"
    short = _path(text)
    assert len(short) < len(text)
    found, at, start = [], np.zeros(2), np.zeros(2)
    for command, body in re.findall(r"([mlz])([^mlz]*)", short):
        if command == "z":
            at = start
            continue
        steps = np.array(re.findall(r"-?(?:\d+\.\d|\d+|\.\d)", body), float).reshape(-1, 2)
        for step in steps:
            at = at + step
            found.append(at)
        start = found[-len(steps)] if command == "m" else start
    assert np.allclose(found, [*points, (1, 2), (1, 2)], atol=1e-6)
    assert _path("M 0 2 C 0.5 2 1 1.8 1.4 1.4 z") == "M0 2C0.5 2 1 1.8 1.4 1.4z"


def test_points_that_do_not_match_get_no_names(document: Document) -> None:
    panel = document.find(Figure)[0].panels[0]
    wrong = {name: [*texts, "one too many"] for name, texts in panel.points.items()}
    assert 'class="point"' not in themed(panel.svg, panel.alt, wrong)


def test_csv_downloads_hold_the_numbers(page: str, document: Document) -> None:
    links = [a for t, a in Page(page).elements if t == "a" and "download" in a]
    assert [a["download"] for a in links] == [f"{f.anchor}.csv" for f in document.find(Figure)]
    for link, figure in zip(links, document.find(Figure), strict=True):
        assert unquote((link["href"] or "").split(",", 1)[1]) == figure.csv


def test_formulas_are_math(page: str) -> None:
    found = re.findall(r"<math.*?</math>", page, re.S)
    assert len(found) == 3  # the laws of the example
    for formula in found:
        ET.fromstring(formula)
    for law in LAWS.values():  # an equation (M4) has nothing on its left but itself
        ET.fromstring(mathml(law.name, "" if law.output else "loss"))


def test_hostile_words_stay_words(hostile_page: str, page: str) -> None:
    parsed = Page(hostile_page)
    tags = {t for t, _ in parsed.elements}
    assert tags <= {t for t, _ in Page(page).elements}
    assert Counter(t for t, _ in parsed.elements)["script"] == 2
    for tag, attributes in parsed.elements:
        assert not [n for n in attributes if EVENTS.match(n)], (tag, attributes)
        for name in LOADING & set(attributes):
            assert re.match(r"#|data:text/csv", attributes[name] or "")
    words = " ".join(parsed.words)
    assert "<script>alert(1)</script>" in words
    assert "{{7*7}}" in words
    assert "$\\frac{1}{0}$" in words
    assert not re.search("[\u202a-\u202e\u2066-\u2069\u200b\x00-\x08\x1b]", hostile_page)


def test_hostile_words_in_drawings_stay_text(hostile_document: Document) -> None:
    for figure in hostile_document.find(Figure):
        for panel in figure.panels:
            root = ET.fromstring(themed(panel.svg, panel.alt, panel.points))
            assert not [e for e in root.iter() if e.tag.rpartition("}")[2] in ("script", "foreignObject", "image", "a")]
            assert not [k for e in root.iter() for k in e.attrib if EVENTS.match(k)]


def test_same_document_same_page(document: Document, page: str) -> None:
    assert html_of(document) == page
    assert len(page) < 450_000  # 12 claims, 15 runs
