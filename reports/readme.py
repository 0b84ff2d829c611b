"""README's tables and figure, made from the committed example: `python -m reports.readme`.

examples/demo.json holds the summaries of runs of the main job, good and bad ones alike. `python -m reports.readme
FOLDER ...` takes them from finished folders first, and the figure from the first of them.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.inputs import ReportInput
from scaling.records import canonical, parse, write_atomic
from scaling.units import format_compute, format_interval

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- demo:begin -->", "<!-- demo:end -->"
Claim = Mapping[str, Any]


def generated(example: Path) -> str:
    """What stands between README's markers: how the questions held over all runs, then every run of every question."""
    runs = parse(example.read_bytes(), what=str(example))["runs"]
    claims: dict[str, list[tuple[str, Claim]]] = {}
    for run in runs:
        for claim in run["claims"]:
            claims.setdefault(claim["id"], []).append((run["title"], claim))
    headline = {k: v for k, v in claims.items() if k.split(".")[2] == "all"}
    fold = "<details><summary>Every run of the main questions, beside simpler methods</summary>"
    folded = [fold, "", *_each(headline), "", "</details>"]
    return "\n".join([_opening(runs), "", *_summary(claims), "", *folded, "", _reading()])


def _opening(runs: Sequence[Mapping[str, Any]]) -> str:
    first = runs[0]["claims"][0]
    bound = sum(bool(r["bound"]) for r in runs)
    return (
        f"{len(runs)} {'instances' if len(runs) > 1 else 'instance'} of the task, each predicted before its target was "
        f"trained: {format_compute(first['target'])} of pre-training, {first['factor']:.0f}x the largest run that the "
        f"fit saw. In {bound} of {len(runs)} the target's seeds derive from the registered entry. All runs are listed."
    )


def _summary(claims: Mapping[str, list[tuple[str, Claim]]]) -> list[str]:
    baselines = list(next(iter(claims.values()))[0][1]["baselines"])
    heads = [
        "question",
        "law",
        "grade",
        "inside 90 %",
        "inside 80 %",
        "inside 50 %",
        "median \\|error\\|",
        "80 % width",
    ]
    lines = _head([*heads, *(f"beats {b}" for b in baselines)])
    for members in claims.values():
        found = [c for _, c in members]
        hits = [f"{sum(c['hits'][level] for c in found)} of {len(found)}" for level in ("90", "80", "50")]
        error = f"{100 * statistics.median(abs(c['error']) for c in found):.1f} %"
        width = f"{statistics.median(c['interval_80'][1] - c['interval_80'][0] for c in found):.3f}"
        wins = [f"{sum(c['crps'] < c['baselines'][b] for c in found)} of {len(found)}" for b in baselines]
        grades = ", ".join(sorted({c["grade"] for c in found}))
        lines.append(_row([_label(found[0]), found[0]["law"], grades, *hits, error, width, *wins]))
    return lines


def _each(claims: Mapping[str, list[tuple[str, Claim]]]) -> list[str]:
    baselines = list(next(iter(claims.values()))[0][1]["baselines"])
    heads = ["question", "run", "forecast", "80 %", "90 %", "grade", "measured", "error", "inside", "CRPS"]
    lines = _head([*heads, *(f"CRPS {b}" for b in baselines)])
    for members in claims.values():
        for number, (_, c) in enumerate(members, 1):
            middle, low, high = format_interval(*_pair(c["interval_90"]), middle=c["median"])
            inner = format_interval(*_pair(c["interval_80"]))
            inside = next((f"{level} %" for level in ("50", "80", "90", "95") if c["hits"][level]), "**none**")
            cells = [_label(c), str(number), middle, f"[{inner[0]}, {inner[1]}]", f"[{low}, {high}]", c["grade"],
                     f"{c['actual']:.3f}", f"{100 * c['error']:+.1f} %", inside, f"{c['crps']:.4f}"]  # fmt: skip
            lines.append(_row([*cells, *(f"{c['baselines'][b]:.4f}" for b in baselines)]))
    return lines


def _label(claim: Claim) -> str:
    """What is asked; a second question about the same thing (an id of four parts) is told apart by its law."""
    return f"{claim['label']}, law without a floor" if claim["id"].count(".") > 2 else str(claim["label"])


def _reading() -> str:
    return (
        "`inside`: the narrowest of the 50, 80, 90 and 95 % intervals that held the outcome. CRPS has the metric's "
        "unit, lower is better; a baseline's stands beside it. UNEARNED: refused before the run, and entered to see "
        "how it turns out. `beats`: in how many runs the forecast's CRPS was lower."
    )


def _head(names: Sequence[str]) -> list[str]:
    return [_row(names), "|" + "---|" * len(names)]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _pair(values: Sequence[float]) -> tuple[float, float]:
    return values[0], values[1]


def section(readme: str) -> str:
    """What stands between the markers."""
    return readme.split(BEGIN)[1].split(END)[0].strip()


def take(folders: Sequence[Path], example: Path) -> None:
    """Summaries of the newest predictions of finished folders, and the first one's figure, into examples/ and docs/."""
    from reports.demo import summary
    from reports.project import read_project, report_input
    from scaling.registry import Ledger, standing

    records = [standing.find(Ledger(folder / "ledger", create=False), standing.LATEST) for folder in folders]
    write_atomic(example, canonical({"v": 1, "runs": [summary(record) for record in records]}) + b"\n")
    write_atomic(ROOT / "docs" / "forecast.svg", picture(report_input(read_project(folders[0]), records[0])))


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


def main(arguments: Sequence[str]) -> None:
    example, readme = ROOT / "examples" / "demo.json", ROOT / "README.md"
    if arguments:
        take([Path(a) for a in arguments], example)
    text = readme.read_text()
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    write_atomic(readme, f"{before}{BEGIN}\n{generated(example)}\n{END}{after}")


if __name__ == "__main__":
    main(sys.argv[1:])
