"""One self-contained HTML file: no request leaves it, it works without JavaScript, and no user's word is markup.

The page carries the report model as JSON (`id="report-model"`), so that a verifier can read it later.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from reports.blocks import Document
from reports.svg import themed
from scaling.laws import LAWS
from scaling.records import plain, sha256

FIGURE = re.compile(r'<figure id="[^"]*">\n.*?</figure>\n', re.DOTALL)
URI_SAFE = " ,/:;()[]=+*!@-._~"  # characters that stand for themselves in a data: address inside quotes
NAMED_ENTITIES = {"&ExponentialE;": "e", "&InvisibleTimes;": "&#8290;"}


def html_of(document: Document) -> str:
    """The page as text; the same document gives the same text. The model that it carries states digests of the figures
    as they are drawn."""
    model, carried = document.to_json(), document.to_json(drawings=False, figures=False)
    drawn = iter(FIGURE.findall(page_of_model(model, carried)))
    for block in carried["blocks"]:
        if block["kind"] == "figure":
            block["drawn"] = sha256(next(drawn).encode())
    return page_of_model(model, carried)


def page_of_model(model: Mapping[str, Any], carried: Mapping[str, Any]) -> str:
    """The page that shows `model` and carries `carried`."""
    css, script = template("style.css"), template("report.js")
    page = _environment().get_template("forecast.html")
    return page.render(
        title=model["title"],
        subtitle=model["subtitle"],
        made_at=model["made_at"],
        blocks=model["blocks"],
        contents=[b for b in model["blocks"] if b["kind"] == "heading" and b["level"] == 2],
        css=Markup(css),
        script=Markup(script),
        policy=policy(css, script),
        model=Markup(embedded_json(carried)),
    )


def policy(css: str, script: str) -> str:
    """Content-Security-Policy: only our own style sheet and script, by hash; nothing is loaded, nothing is sent.

    The hash of the style sheet stands in style-src-elem: in plain style-src it would forbid the style attributes
    that matplotlib's SVG consists of, and turn every figure black.
    """
    parts = (
        "default-src 'none'",
        f"script-src '{_hash(script)}'",
        f"style-src-elem '{_hash(css)}'",
        "style-src-attr 'unsafe-inline'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return "; ".join(parts)


def embedded_json(value: Any) -> str:
    """JSON that cannot end its script element, whatever the strings in it say."""
    text = json.dumps(plain(value), sort_keys=True, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@lru_cache(maxsize=8)
def mathml(law: str, left: str) -> Markup:
    """A law's formula as MathML, from its own expression; `left` is what it gives, as plain text."""
    import sympy as sp

    formula = LAWS[law].formula.replace(sp.exp, sp.Function("exp"))  # exp(...) keeps its argument readable
    body = sp.mathml(formula, printer="presentation")
    for name, plain_text in NAMED_ENTITIES.items():
        body = body.replace(name, plain_text)
    start = Markup("<mtext>{}</mtext><mo>=</mo>").format(left) if left else ""  # a law that is an equation has none
    return Markup('<math displaystyle="true"><mrow>{}{}</mrow></math>').format(start, Markup(body))


def template(name: str) -> str:
    return (files("reports") / "templates" / name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        drawing=lambda p: Markup(themed(p["svg"], p["alt"], p["points"])),
        csv_uri=lambda text: "data:text/csv;charset=utf-8," + quote(text, safe=URI_SAFE),
        formula=lambda b: mathml(b["law"], b["left"]) if b["law"] in LAWS else b["text"],
    )
    return environment


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
