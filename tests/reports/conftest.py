"""Reports are made once per session: the tests look at them from many sides."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pypdf
import pytest
import report_example

from reports import Document, forecast_document, render
from reports.render_html import html_of


@pytest.fixture(scope="session")
def document() -> Document:
    return forecast_document(report_example.example())


@pytest.fixture(scope="session")
def page(document: Document) -> str:
    return html_of(document)


@pytest.fixture(scope="session")
def pdf_path(document: Document, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(document, tmp_path_factory.mktemp("report") / "report.pdf")


@pytest.fixture(scope="session")
def pdf(pdf_path: Path) -> Iterator[pypdf.PdfReader]:
    with pypdf.PdfReader(pdf_path) as reader:
        yield reader


@pytest.fixture(scope="session")
def pages(pdf: pypdf.PdfReader) -> list[str]:
    """Text of the PDF, page by page."""
    return [p.extract_text() for p in pdf.pages]


@pytest.fixture(scope="session")
def hostile_document() -> Document:
    return forecast_document(report_example.hostile())
