"""Forecast reports: one model of plain JSON blocks, printed as HTML, PDF and JSON. Loaded on first use."""

from importlib import import_module
from typing import Any

_HOME = {
    "Document": "reports.blocks",
    "Receipt": "reports.inputs",
    "ReportInput": "reports.inputs",
    "forecast_document": "reports.document",
    "render": "reports.output",
}
__all__ = ["Document", "Receipt", "ReportInput", "forecast_document", "render"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
