"""The forecast report: which blocks, in which order. What a block says stands in the module of its section."""

from __future__ import annotations

from reports.backtests import backtest_blocks
from reports.blocks import Block, Document
from reports.charts import bucket_blocks, fan_blocks, residual_blocks
from reports.checked import drawn_by
from reports.checklist import checklist_blocks
from reports.choices import appendix_blocks, choice_blocks
from reports.claims import claim_blocks, score_blocks
from reports.inputs import ReportInput
from reports.laws_found import hard_blocks, parameter_blocks
from reports.parts import part_blocks
from reports.record import assumption_blocks, cost_blocks, gate_blocks, note_blocks, provenance_blocks, trial_blocks
from reports.rl_runs import rl_run_blocks
from reports.series import all_series
from reports.text import clean
from reports.what_if import what_if_blocks
from scaling.errors import InputError

REPORT = "forecast"


def forecast_document(report: ReportInput) -> Document:
    """Everything a reader needs to judge the forecast; parts without input are left out, not left empty."""
    title = clean(report.title, where="title").strip()
    if not title:
        raise InputError("a report needs a title", "say what is forecast")
    series = all_series(report)
    blocks: list[Block] = [
        *claim_blocks(report),
        *fan_blocks(series),
        *what_if_blocks(report),
        *part_blocks(report),
        *choice_blocks(report),
        *bucket_blocks(series),
        *hard_blocks(report),
        *rl_run_blocks(report),
        *backtest_blocks(report),
        *score_blocks(report),
        *residual_blocks(series),
        *parameter_blocks(report),
        *cost_blocks(report),
        *assumption_blocks(report),
        *gate_blocks(report),
        *trial_blocks(report),
        *provenance_blocks(report),
        *note_blocks(report.notes),
        *checklist_blocks(report),
        *appendix_blocks(report),
    ]
    made_at = report.made_at or _registered_at(report)
    return Document(title, _subtitle(report), tuple(blocks), made_at, _facts(report), report.proof)


def _registered_at(report: ReportInput) -> str:
    latest = report.outcome_receipt or report.receipt
    return latest.time if latest else ""


def _subtitle(report: ReportInput) -> str:
    if report.scores:
        return "Scaling forecast, registered and resolved"
    if report.prediction:
        return "Scaling forecast, registered, outcome open"
    return "Scaling forecast, not registered" if report.forecasts else "Fitted scaling laws"


def _facts(report: ReportInput) -> dict[str, object]:
    """What a verifier looks for in the exported file, without reading the blocks."""
    r = report.receipt
    return {
        "report": REPORT,
        "entry": r.entry_hash if r else None,
        "seq": r.seq if r else None,
        "head": r.head if r else None,
        "size": r.size if r else None,
        "outcome": report.outcome_receipt.entry_hash if report.outcome_receipt else None,
        "claims": {
            c.id: {"quantiles": list(c.quantiles), "draws": c.draws_digest, "measured": report.measured(c)}
            for c in report.claims
        },
        "fits": [f.digest for f in report.fits],
        "observations": report.observations.digest if report.observations is not None else None,
        "drawn_by": drawn_by() if report.proof else None,
    }
