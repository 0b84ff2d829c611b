"""The PDF report: same numbers as the HTML, tagged and archivable, reproducible, inert; limits and fallbacks."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from html import unescape
from pathlib import Path

import numpy as np
import pypdf
import pytest
import typst
from matplotlib.image import imread
from report_example import HOSTILE, example
from test_report_rl_runs import run_that

from reports import Document, ReportInput, forecast_document, render
from reports import render_pdf as pdf_module
from reports.blocks import Figure, Heading, Panel, Table, Text
from reports.inputs import RunLook
from reports.render_plain import plain_pdf_of
from reports.rl_runs import look_at, rl_run_blocks
from reports.rl_scores import scores_of_looks
from reports.text import clean
from scaling.laws import LAWS

NUMBER = re.compile(r"\d+(?:\.\d+)?(?:e-?\d+)?")


@pytest.fixture(scope="module")
def looks() -> list[RunLook]:
    """Four RL runs: two that end as they began to, twice."""
    two = [look_at("as foretold", run_that(0.7)), look_at("collapsed", run_that(0.05))]
    return two + [replace(look, name=f"{look.name}, again") for look in two]


def text_of(reader: pypdf.PdfReader) -> str:
    return "\n".join(p.extract_text() for p in reader.pages)


def fonts_of(reader: pypdf.PdfReader) -> dict[str, bool]:
    """Font name -> whether its file is embedded, from the pages and the drawings on them."""
    found: dict[str, bool] = {}

    def walk(resources: pypdf.generic.DictionaryObject) -> None:
        for font in (resources.get("/Font") or {}).values():
            font = font.get_object()
            inner = [d.get_object() for d in font.get("/DescendantFonts", [])] or [font]
            descriptor = inner[0].get("/FontDescriptor")
            embedded = font["/Subtype"] == "/Type3" or (
                descriptor is not None and any(k in descriptor.get_object() for k in ("/FontFile2", "/FontFile3"))
            )
            found[str(font.get("/BaseFont", "Type3"))] = embedded
        for drawing in (resources.get("/XObject") or {}).values():
            if "/Resources" in drawing.get_object():
                walk(drawing.get_object()["/Resources"])

    for page in reader.pages:
        walk(page["/Resources"])
    return found


def test_every_number_in_the_pdf_stands_in_the_html(pages: list[str], page: str) -> None:
    visible = unescape(re.sub(r"<script.*?</script>|<style.*?</style>", " ", page, flags=re.S))
    text = "\n".join(re.sub(rf"\b{i} / {len(pages)}\b", " ", p) for i, p in enumerate(pages, 1))
    numbers = set(NUMBER.findall(text))
    assert len(numbers) > 300
    assert sorted(n for n in numbers if n not in visible) == []


def test_claims_are_printed(pages: list[str]) -> None:
    text = " ".join("\n".join(pages).split())
    assert "measured 0.862: inside the 50 % interval, median off by +0.5 %" in text
    assert "loss became NaN at step 212" in text
    assert "NOT REPORTED" not in text


def test_accessible_archivable_and_complete(pdf: pypdf.PdfReader, pages: list[str], document: Document) -> None:
    root = pdf.trailer["/Root"]
    assert root["/MarkInfo"]["/Marked"]
    assert root["/Lang"] == "en"
    described = root["/Metadata"].get_data().decode()
    assert "pdfuaid:part" in described
    assert re.search(r"pdfaid:part>3<", described)
    assert "PDF/UA" not in "".join(pages)  # no remark about a dropped standard
    [(name, [data])] = pdf.attachments.items()
    assert name == "report-model.json"
    assert json.loads(data) == json.loads(json.dumps(document.to_json(drawings=False)))


def test_drawings_use_embedded_matplotlib_fonts(pdf: pypdf.PdfReader) -> None:
    fonts = fonts_of(pdf)
    assert any("DejaVuSans" in name and "Mono" not in name for name in fonts)
    assert all(fonts.values()), fonts


def test_pages_are_full_enough(pages: list[str]) -> None:
    assert 5 <= len(pages) <= 9
    assert all(len(p) > 300 for p in pages[:-1])


def filled(document: Document) -> list[float]:
    """How far down every page is printed on: 1 is the last line above the footer."""
    job = pdf_module._job(document, (), [])
    compiler = typst.Compiler(
        input=job["source"].encode(), font_paths=job["fonts"], ignore_system_fonts=True, sys_inputs=job["inputs"]
    )
    found = []
    for page in compiler.compile(format="png", ppi=36):
        ink_HW = imread(io.BytesIO(page))[..., :3].min(axis=2) < 0.9
        high = len(ink_HW)
        top, bottom = round(high * 1.4 / 29.7), round(high * (1 - 1.6 / 29.7))
        rows = np.flatnonzero(ink_HW[top:bottom].any(axis=1))
        found.append((rows[-1] + 1) / (bottom - top) if len(rows) else 0.0)
    return found


@pytest.mark.parametrize("first", [3, 8, 99])
def test_no_page_is_more_than_a_third_empty(first: int, looks: list[RunLook]) -> None:
    document = forecast_document(example(first=first, rl_runs=looks, rl_scores=scores_of_looks(looks[:1])))
    *before_last, _ = filled(document)
    assert len(before_last) > 3
    assert min(before_last) > 2 / 3, [round(f, 2) for f in before_last]


@pytest.mark.parametrize("above", range(30, 48, 2))
def test_a_heading_stays_with_its_figure(above: int, looks: list[RunLook]) -> None:
    blocks = rl_run_blocks(ReportInput("t", rl_runs=looks))
    assert isinstance(blocks[0], Heading) and isinstance(blocks[2], Figure)
    filler = tuple(Text(f"Filler {i}.") for i in range(above))
    pages = [p.extract_text() for p in pypdf.PdfReader(_stream(pdf_module.pdf_of(
        Document("t", "s", (*filler, *blocks[:3]))
    ))).pages]  # fmt: skip
    heading = next(i for i, p in enumerate(pages) if blocks[0].text in p)
    assert "as foretold" in pages[heading], above  # the title inside its first panel


def test_bytes_reproduce_across_processes_zones_and_locales_and_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import reports; assert 'matplotlib' not in sys.modules\n"
        "from report_example import example; document = reports.forecast_document(example(first=2))\n"
        "[reports.render(document, sys.argv[2] + s) for s in ('.pdf', '.html')]; assert 'torch' not in sys.modules"
    )
    environment = {**os.environ, "TZ": "Asia/Tokyo", "LC_ALL": "C", "PYTHONHASHSEED": "77"}
    command = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path / "there")]
    subprocess.run(command, check=True, env=environment, cwd=tmp_path)
    document = forecast_document(example(first=2))
    for suffix in (".pdf", ".html"):
        here = render(document, tmp_path / f"here{suffix}").read_bytes()
        assert here == (tmp_path / f"there{suffix}").read_bytes()


def test_time_in_the_file_is_the_ledgers(pdf: pypdf.PdfReader) -> None:
    assert pdf.metadata
    assert str(pdf.metadata["/CreationDate"]).startswith("D:20261121204840")
    undated = forecast_document(ReportInput(title="undated"))
    reader = pypdf.PdfReader(_stream(pdf_module.pdf_of(undated)))
    assert "pdfuaid:part" in reader.trailer["/Root"]["/Metadata"].get_data().decode()
    assert "not the accessible" not in text_of(reader)
    assert list(reader.attachments) == ["report-model.json"]
    assert "/CreationDate" not in (reader.metadata or {}) or "1970" in str(reader.metadata["/CreationDate"])


def test_hostile_words_stay_words(hostile_document: Document, tmp_path: Path) -> None:
    path = render(hostile_document, tmp_path / "hostile.pdf")
    with pypdf.PdfReader(path) as reader:
        text = "".join(text_of(reader).split())
        assert "PDF/UA" not in text
        for word in HOSTILE[:8]:
            assert "".join(clean(word).split()) in text, word
        assert "U+4E2DU+6587" in text  # no font here has them: spelled out, not lost
        assert "/JavaScript" not in str(reader.trailer["/Root"])
        assert not [a for p in reader.pages for a in p.get("/Annots", [])]
        assert "中文" in json.dumps(json.loads(reader.attachments["report-model.json"][0]), ensure_ascii=False)


def test_formulas_come_from_the_laws_alone() -> None:
    source = pdf_module.formulas()
    assert all(f'"{name}": $' in source for name in LAWS)
    fits = [replace(f, law='x", y: panic("in") //') for f in example().fits[:1]]
    document = forecast_document(ReportInput(title="unknown law", fits=fits))
    reader = pypdf.PdfReader(_stream(pdf_module.pdf_of(document)))
    assert 'panic("in")' in text_of(reader)


def test_no_evaluation_in_the_template() -> None:
    source = pdf_module.template("forecast.typ")
    assert "eval(" not in source
    assert "@preview" not in source
    assert "#import" not in source


def test_a_drawing_without_alternative_text_costs_the_standard_and_is_said() -> None:
    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><path d="M0 0 L9 9"/></svg>'
    figure = Figure("f", (Panel(svg, "", {}),), "caption", Table.of(["n"], [[1]]), "n\r\n1\r\n")
    document = Document("skips a level", "s", (Heading("deep", "deep", 2), figure, Heading("deeper", "deeper", 5)))
    text = text_of(pypdf.PdfReader(_stream(pdf_module.pdf_of(document))))
    assert "not the accessible PDF/UA-1 it should be" in " ".join(text.split())


def test_typesetting_stops_at_its_limit() -> None:
    job = {"source": "#for i in range(9999) { for j in range(9999) { for k in range(9999) {} } }",
           "inputs": {}, "fonts": [], "standards": [], "timestamp": 0}  # fmt: skip
    pdf, reason = pdf_module.typeset(job, limit_s=1.5)
    assert pdf == b""
    assert reason == "typesetting took longer than 2 s"


def test_errors_of_typst_are_told(monkeypatch: pytest.MonkeyPatch, document: Document) -> None:
    monkeypatch.setattr(pdf_module, "template", lambda name: '#panic("out of ink")')
    with pytest.raises(pdf_module.TypesettingError, match="out of ink"):
        pdf_module.pdf_of(document)


def test_long_tables_do_not_take_long() -> None:
    rows = [[i, f"run {i}", 0.5] for i in range(10_000)]
    document = Document("long", "s", (Heading("h", "h"), Text("t"), Table.of(["a", "b", "c"], rows)))
    reader = pypdf.PdfReader(_stream(pdf_module.pdf_of(document)))
    assert "9800 more rows" in text_of(reader)
    assert len(reader.pages) < 10


def test_plain_fallback_without_typst(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf_module, "find_spec", lambda name: None)
    data = pdf_module.pdf_of(forecast_document(example(first=3)))
    again = plain_pdf_of(forecast_document(ReportInput(title="short")), "model.json")
    assert again == plain_pdf_of(forecast_document(ReportInput(title="short")), "model.json")
    reader = pypdf.PdfReader(_stream(data))
    text = text_of(reader)
    assert "Set without typst" in text
    assert "measured 0.862: inside the 50 % interval" in text
    assert json.loads(reader.attachments["report-model.json"][0])["facts"]["entry"] == "ef" * 32


def _stream(data: bytes) -> io.BytesIO:
    return io.BytesIO(data)
