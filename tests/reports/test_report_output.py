"""Writing a report: by suffix, whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

import reports
from reports import Document, render
from scaling.errors import InputError
from scaling.records import canonical, parse


def test_suffix_decides(document: Document, tmp_path: Path) -> None:
    assert render(document, tmp_path / "r.html").read_text().startswith("<!doctype html>")
    assert parse(render(document, str(tmp_path / "r.json")).read_bytes()) == parse(canonical(document.to_json()))
    with pytest.raises(InputError, match=r"\.html, \.pdf or \.json"):
        render(document, tmp_path / "r.docx")
    with pytest.raises(InputError, match="not a folder"):
        render(document, tmp_path / "missing" / "r.json")


def test_a_failure_leaves_the_old_file(document: Document, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "r.html"
    path.write_text("old")
    monkeypatch.setattr("scaling.records.os.replace", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        render(document, path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_public_names_load_on_use() -> None:
    assert all(getattr(reports, name) is not None for name in reports.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = reports.nothing
