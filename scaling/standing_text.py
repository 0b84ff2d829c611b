"""How predictions stand and were scored, and what is wrong with a ledger: in words and rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scaling.cli import note, table

if TYPE_CHECKING:
    from scaling.registry.ledger import Ledger
    from scaling.registry.merkle import Checkpoint
    from scaling.registry.standing import Record, Sealed
    from scaling.registry.verify import Problem, VerifyReport


def standing_row(one: Record | Sealed) -> list[Any]:
    from scaling.registry.standing import Sealed

    start = [one.entry.seq, one.entry.hash[:12]]
    if isinstance(one, Sealed):
        return [*start, f"under embargo until {one.until}", one.state, len(one.starts), "", None, ""]
    stands = [one.prediction.title, one.state, len(one.starts), _bound(one)]
    return [*start, *stands, len(one.prediction.claims), _hits(one)]


def signatures(report: VerifyReport) -> str:
    parts = [f"{count} signed by key {name[:16]}" for name, count in report.signed.items()]
    return "signatures: " + ", ".join([*parts, f"{report.unsigned} unsigned"])


def place(problem: Problem) -> str:
    return f"entry {problem.index}, line {problem.line}, byte {problem.offset}: " if problem.index is not None else ""


def note_unless_remembered(ledger: Ledger, head: Checkpoint) -> None:
    if not ledger.remembers(head):
        note(f"the head is not remembered: {ledger.folder} cannot be written; keep it elsewhere")


def _hits(record: Record) -> str:
    return "{} of {}".format(*record.inside["90"]) if record.scores else ""


def labels_of(one: Record | Sealed) -> list[str]:
    """Of one under embargo nothing is known."""
    return getattr(one, "labels", [])


def note_labels(one: Record | Sealed) -> None:
    for label in labels_of(one):
        note(f"{one.entry.hash[:12]}: {label}")


def _bound(record: Record) -> str:
    if not record.resolution:
        return ""
    return "bound (stated; verify --replay-steps checks)" if record.resolution.bound else "not bound"


def scores_table(record: Record) -> str:
    from scaling.units import format_interval

    rows = []
    for claim, score in zip(record.prediction.claims, record.scores, strict=True):
        middle, low, high = format_interval(*claim.interval(0.9), middle=claim.median)
        rows.append(
            [
                claim.id,
                middle,
                f"[{low}, {high}]",
                f"{score.value:.4g}",
                f"{100 * score.error:+.1f} %",
                "yes" if score.hits["90"] else "NO",
                f"{score.crps:.4f}",
                ", ".join(f"{n} {v:.4f}" for n, v in score.baselines.items()),
            ]
        )
    headers = ["claim", "predicted", "90 %", "actual", "error", "inside", "CRPS", "baselines' CRPS"]
    together = ", ".join(f"{k} of {n} inside {level} %" for level, (k, n) in record.inside.items())
    return table(headers, rows) + (f"\ntogether: {together}" if together else "")
