"""The report as PDF, by typst: tagged (PDF/UA-1), archivable (PDF/A-3a), with the report model attached.

Report data reach the template as one JSON string in `sys.inputs`; no markup is ever built from them. The formulas
are the only generated source: they come from `scaling.laws.LAWS`, a closed set, whatever the report says.
Typst cannot be cancelled, so it runs in a child process with limits (`typesetter.py`).
"""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import matplotlib

from reports.blocks import Document
from reports.render_html import template
from scaling.errors import ScalingError
from scaling.laws import LAWS
from scaling.records import canonical, plain

TIME_LIMIT_S = 120.0
STANDARDS: tuple[tuple[str, ...], ...] = (("ua-1", "a-3a"), ("a-3b",), ())
UNDATED: tuple[tuple[str, ...], ...] = (("ua-1",), ())  # PDF/A wants a date, and the clock's would not reproduce
ATTACHED = "report-model.json"


class TypesettingError(ScalingError):
    """Typst could not make a PDF of this report."""


def pdf_of(document: Document) -> bytes:
    """PDF bytes, reproducible: the only time in them is the document's own. Standards are dropped only if refused."""
    if find_spec("typst") is None:
        from reports.render_plain import plain_pdf_of

        return plain_pdf_of(document, ATTACHED)
    reasons: list[str] = []
    for standards in STANDARDS if _moment(document.made_at) else UNDATED:
        pdf, reason = typeset(_job(document, standards, reasons))
        if pdf:
            return pdf
        reasons.append(reason)
    raise TypesettingError(f"typst could not make the PDF: {reasons[-1]}", "write .html instead, and report this")


def typeset(job: dict[str, Any], limit_s: float = TIME_LIMIT_S) -> tuple[bytes, str]:
    """(PDF, "") or (b"", why not), from a child process that is killed at the limit."""
    # -P: the child must not see this folder's modules as top-level ones
    command = [sys.executable, "-P", str(Path(__file__).with_name("typesetter.py"))]
    try:
        done = subprocess.run(
            command, input=json.dumps(job).encode(), capture_output=True, timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired:
        return b"", f"typesetting took longer than {limit_s:.0f} s"
    if done.returncode == 0 and done.stdout.startswith(b"%PDF"):
        return done.stdout, ""
    return b"", done.stderr.decode("utf-8", "replace").strip()[-2000:] or f"exit status {done.returncode}"


def _job(document: Document, standards: tuple[str, ...], reasons: list[str]) -> dict[str, Any]:
    model = printable(replace(document, proof=None).to_json())
    model["remark"] = _remark(standards, reasons)
    model["date"] = list(_date(document.made_at))
    return {
        "source": formulas() + template("forecast.typ"),
        "inputs": {
            "report": json.dumps(plain(model), allow_nan=False),
            "model": canonical(document.to_json(drawings=False)).decode(),
            "attach": ATTACHED,
        },
        "fonts": [str(Path(matplotlib.get_data_path()) / "fonts" / "ttf")],
        "standards": list(standards),
        "timestamp": _timestamp(document.made_at),
    }


def _remark(standards: tuple[str, ...], reasons: list[str]) -> str:
    if not reasons:
        return ""
    kept = ", ".join(standards) or "no PDF standard"
    return f"This file is not the accessible PDF/UA-1 it should be ({kept}): {reasons[0][:200]}"


def formulas() -> str:
    """Typst source of the formulas, by law: trusted text, made from the laws' own expressions."""
    entries = "".join(f'  "{name}": $ {law.typst} $,\n' for name, law in sorted(LAWS.items()))
    return f"#let formulas = (\n{entries})\n"


def printable(value: Any) -> Any:
    """Characters that no font here has are spelled out, U+4E2D: PDF/UA-1 refuses a missing glyph."""
    if isinstance(value, dict):
        return {k: printable(v) for k, v in value.items()}
    if isinstance(value, list):
        return [printable(v) for v in value]
    if not isinstance(value, str) or value.isascii():
        return value
    known = _glyphs()
    return "".join(c if ord(c) in known else f"U+{ord(c):04X}" for c in value)


@lru_cache(maxsize=1)
def _glyphs() -> frozenset[int]:
    from matplotlib import font_manager, ft2font

    font = ft2font.FT2Font(font_manager.findfont("DejaVu Sans"))
    return frozenset(font.get_charmap())


def _moment(text: str) -> dt.datetime | None:
    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _timestamp(text: str) -> int:
    moment = _moment(text)
    return int(moment.timestamp()) if moment else 0


def _date(text: str) -> tuple[int, ...]:
    moment = _moment(text)
    return tuple(moment.astimezone(dt.UTC).timetuple()[:6]) if moment else ()
