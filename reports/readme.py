"""README's table and figure, made from the committed example: `python -m reports.readme`.

examples/demo.json is the summary of one run of the main job. `python -m reports.readme FOLDER` takes it, and the
figure, from a finished folder first.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.inputs import ReportInput
from scaling.records import canonical, parse, write_atomic
from scaling.units import format_compute, format_interval

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- demo:begin -->", "<!-- demo:end -->"


def generated(example: Path) -> str:
    """The table between README's markers."""
    body = parse(example.read_bytes(), what=str(example))
    claims: Sequence[dict[str, Any]] = body["claims"]
    lines = [
        f"{body['title']}, {format_compute(claims[0]['target'])} of pre-training, "
        f"{claims[0]['factor']:.0f}x the largest run that the fit saw; registered {body['time'][:10]} as "
        f"`{body['hash'][:16]}`, seeds {'bound to it' if body['bound'] else 'NOT bound to it'}.",
        "",
        "| question | forecast | 50 % | 90 % | grade | measured | error | in 90 % | CRPS | last value | linear |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [_row(claim) for claim in claims]
    inside = sum(c["hits"]["90"] for c in claims)
    lines += [
        "",
        f"{inside} of {len(claims)} inside the 90 % interval. CRPS is in the metric's unit, lower is better; the last "
        "two columns are the CRPS of two baselines (last value seen; straight line in log compute).",
    ]
    return "\n".join(lines)


def section(readme: str) -> str:
    """What stands between the markers."""
    return readme.split(BEGIN)[1].split(END)[0].strip()


def main(arguments: Sequence[str]) -> None:
    example, readme = ROOT / "examples" / "demo.json", ROOT / "README.md"
    if arguments:
        take(Path(arguments[0]), example)
    text = readme.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    write_atomic(readme, f"{before}{BEGIN}\n{generated(example)}\n{END}{after}")


def take(folder: Path, example: Path) -> None:
    """The summary of a finished folder's newest prediction, and its figure, into examples/ and docs/."""
    from reports.demo import summary
    from reports.project import read_project, report_input
    from scaling.registry import Ledger, book

    record = book.find(Ledger(folder / "ledger", create=False), book.LATEST)
    write_atomic(example, canonical(summary(record)) + b"\n")
    write_atomic(ROOT / "docs" / "forecast.svg", picture(report_input(read_project(folder), record)))


def picture(report: ReportInput) -> bytes:
    """Loss and mean pass rate of a report side by side, as one SVG on white."""
    import io

    from matplotlib.figure import Figure

    from reports.axes import LINEAR
    from reports.figures import fan
    from reports.series import all_series, headline_series
    from reports.svg import PAPER, style

    series = headline_series(all_series(report))
    shown = {"loss": "held-out loss [nats per token]", "pass_rate": "mean pass rate"}
    with style():
        figure = Figure(figsize=(9.2, 3.1), facecolor=PAPER, layout="constrained")
        for ax, (metric, title) in zip(figure.subplots(1, 2), shown.items(), strict=True):
            fan([s for s in series if s.subject.metric == metric], ax, view=LINEAR, title=title)
        out = io.BytesIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def _row(claim: Mapping[str, Any]) -> str:
    (low, high), inside = claim["interval_90"], claim["interval_50"]
    middle, low, high = format_interval(low, high, middle=claim["median"])
    inner = format_interval(inside[0], inside[1])
    cells = [
        claim["label"],
        middle,
        f"[{inner[0]}, {inner[1]}]",
        f"[{low}, {high}]",
        claim["grade"],
        f"{claim['actual']:.3f}",
        f"{100 * claim['error']:+.1f} %",
        "yes" if claim["hits"]["90"] else "**no**",
        f"{claim['crps']:.4f}",
        *(f"{claim['baselines'][n]:.4f}" for n in ("last value", "linear in log C")),
    ]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    main(sys.argv[1:])
