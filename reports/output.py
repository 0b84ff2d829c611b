"""`render(document, path)`: the suffix says which form; a file is written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from reports.blocks import Document
from scaling.errors import InputError
from scaling.records import canonical, write_atomic


def render(document: Document, path: str | Path) -> Path:
    """Write the report as .html, .pdf or .json and return the path."""
    path = Path(path)
    if path.suffix == ".html":
        from reports.render_html import html_of

        data: bytes = html_of(document).encode()
    elif path.suffix == ".pdf":
        from reports.render_pdf import pdf_of

        data = pdf_of(document)
    elif path.suffix == ".json":
        data = canonical(document.to_json()) + b"\n"
    else:
        raise InputError(f"{path}: a report is written as .html, .pdf or .json", "choose one of these suffixes")
    if not path.parent.is_dir():
        raise InputError(f"{path.parent} is not a folder", "make it first")
    write_atomic(path, data)
    return path
