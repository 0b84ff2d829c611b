"""The record behind the numbers: runs, costs, assumptions and what voids the claim, provenance, notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from reports.blocks import Block, Bullets, Heading, KeyFacts, Table, Text, Warning
from reports.inputs import Receipt, ReportInput
from reports.run_names import SUFFIX, named
from reports.text import MISSING, clean, compute, counted, duration, missing, moment, number, times
from scaling.names import name_of
from scaling.observations import OVERALL

COST_UNITS = (
    ("flop", "algorithmic compute", compute),
    ("executed_flop", "executed compute", compute),
    ("evaluation_flop", "evaluation compute", compute),
    ("core_h", "core-hours", lambda v: number(v, 3)),
    ("gpu_h", "GPU-hours", lambda v: number(v, 3)),
    ("usd", "money [USD]", lambda v: f"{v:.2f}"),
)
BRIEF = 5  # rows of a long list of digests on paper
GOOD_STATES = ("COMPLETE", "WAITING", "RUNNING")
SHOWN_ELSEWHERE = ("commit", "dirty", "versions", "data", "replay")


def trial_blocks(report: ReportInput) -> list[Block]:
    """Every trial, the failed ones first to be seen: they gave no observation and stay visible."""
    trials = list(report.trials)
    if not trials:
        return []
    bad = [t for t in trials if str(t.get("state", "")) not in GOOD_STATES]
    complete = sum(str(t.get("state")) == "COMPLETE" for t in trials)
    rows, tones = [], []
    good = [t for t in trials if t not in bad]
    cheap_first = sorted(good, key=lambda t: (t.get("C_pre") or 0, str(t.get("stage")), _run(report, t)))
    for t in [*bad, *cheap_first]:
        rows.append([
            _run(report, t), _plain(t.get("stage")), number(t.get("N")), number(t.get("D")), _flop(t.get("C_pre")),
            _flop(t.get("C_rl")), duration(t.get("wall_s")), _plain(t.get("state")), *_digest(report, t),
            clean(t.get("reason") or ""),
        ])  # fmt: skip
        tones.append("bad" if t in bad else "")
    headers = ["run", "stage", "N", "D [tokens]", "C_pre [FLOP]", "C_rl [FLOP]", "time", "state"]
    headers += [*["trial"] * bool(report.run_names), "reason"]
    if not any(row[-1] for row in rows):
        headers, rows = headers[:-1], [row[:-1] for row in rows]
    wide = [len(headers) - 1] if headers[-1] == "reason" else []
    text = f"{complete} of {counted(len(trials), 'run')} complete."
    if bad:
        text += f" {counted(len(bad), 'run')} failed or diverged and gave no observation: listed first."
    blocks: list[Block] = [Heading("Runs", "runs"), Text(text), Table.of(headers, rows, tones=tones, wide=wide)]
    if marked := [t for t in trials if t.get("tripped")]:
        told = f"{counted(len(marked), 'run')} tripped a gate of health; what they measured stays in every fit."
        found = [[_run(report, t), _plain(t.get("stage")), clean(gate)] for t in marked for gate in t["tripped"]]
        blocks += [
            Heading("Marked runs", "marked", 3),
            Text(told),
            Table.of(["run", "stage", "gate"], found, wide=[2], brief=BRIEF),
        ]
    return blocks


def _run(report: ReportInput, trial: Mapping[str, Any]) -> str:
    """What the run is called."""
    return named(report.run_names, _plain(trial.get("id")))


def _digest(report: ReportInput, trial: Mapping[str, Any]) -> list[str]:
    """First digits of the digest and the seed, where the run is called otherwise: for who looks for its folder."""
    digest, _, seed = _plain(trial.get("id")).rpartition("-")
    return [f"{digest[:SUFFIX]}..-{seed}"] if report.run_names else []


def _plain(value: Any) -> str:
    return MISSING if missing(value) else clean(value)


def _flop(value: Any) -> str:
    return MISSING if missing(value) or not value else number(value, 3)


def cost_blocks(report: ReportInput) -> list[Block]:
    """What the forecast cost, what the target costs, and the ratio: the reason to forecast at all."""
    costs = {k: v for k, v in report.costs.items() if not missing(v)}
    if not costs:
        return []
    rows = []
    for key, label, printed in COST_UNITS:
        spent, target = costs.pop(f"spent_{key}", None), costs.pop(f"target_{key}", None)
        if spent is None and target is None:
            continue
        ratio = times(target / spent) if spent and target is not None else MISSING
        rows.append([label, *(MISSING if v is None else printed(v) for v in (spent, target)), ratio])
    rows += [[clean(k).replace("_", " "), number(v), MISSING, MISSING] for k, v in costs.items()]
    return [
        Heading("Costs", "costs"),
        Table.of(["", "spent on the sweep", "target run", "target / sweep"], rows),
    ]


def assumption_blocks(report: ReportInput) -> list[Block]:
    """What must hold for the claim, and what voids it: the registered words, plus what every forecast here assumes."""
    prediction = report.prediction
    blocks: list[Block] = [Heading("Assumptions, and what voids the claim", "assumptions")]
    assumed = [clean(a) for a in prediction.assumptions] if prediction else []
    assumed.append("The target run follows the same recipe as the sweep; nothing else changes with compute.")
    if report.forecasts:
        assumed.append("The law's form holds beyond the data as far as the back-tests could show, and no further.")
    blocks += [Heading("Assumed", "assumed", 3), Bullets(tuple(assumed))]
    if prediction:
        voids = [clean(v) for v in prediction.voids] or ["nothing was named that would void it"]
        blocks += [
            Heading("Void if", "voids", 3),
            Bullets(tuple(voids)),
            Heading("Resolved by", "resolved-by", 3),
            Text(f"{clean(prediction.resolution_rule)}; until {clean(prediction.until)}. Between and beyond the stated "
                 f"quantiles: {clean(prediction.tails)}."),
        ]  # fmt: skip
    return blocks


def gate_blocks(report: ReportInput) -> list[Block]:
    """The assumptions that were tested on the ladder: what each test found. Registered with the prediction, or not."""
    registered = report.prediction.gates if report.prediction else ()
    gates = report.known_gates
    if not gates:
        return []
    failed = sum(gate.passed is False for gate in gates)
    text = "Checks on the ladder that the forecast leans on" + (", as registered." if registered else ".")
    if report.prediction and not registered:
        text += " They are no part of the registered prediction."
    blocks: list[Block] = [Heading("Gates", "gates"), Text(text)]
    if failed:
        blocks.append(
            Warning(
                f"{failed} of {counted(len(gates), 'gate')} failed: a forecast that leans on one is EXTENDED at most, "
                "and refused beyond the back-tested factor where the gate is a premise (no drift with scale)."
            )
        )
    rows = [[f"{i}. {clean(gate.name)}", gate.state, clean(gate.says)] for i, gate in enumerate(gates, 1)]
    return [*blocks, Table.of(["gate", "state", "found"], rows, tones=["bad" * (g.passed is False) for g in gates],
                              wide=[2])]  # fmt: skip


def provenance_blocks(report: ReportInput) -> list[Block]:
    """Hashes, versions, the command that replays: what anyone needs to check this report."""
    facts: list[tuple[str, str]] = []
    if report.receipt:
        facts += _receipt_facts("prediction", report.receipt)
    if report.outcome_receipt:
        facts += _receipt_facts("outcome", report.outcome_receipt)
    facts += _code_facts(report.provenance)
    if report.resolution:
        facts += [("evidence", f"{clean(k)}  {clean(v)}") for k, v in report.resolution.evidence.items()]
        if report.resolution.trials:
            facts.append(("target runs", ", ".join(clean(t) for t in report.resolution.trials)))
    if report.observations is not None:
        facts.append(("observations", report.observations.digest))
    facts += [
        (f"fit of {clean(name_of(f, report.fits))}", f.digest) for f in report.fits if f.subject.bucket == OVERALL
    ]
    if not facts:
        return []
    blocks: list[Block] = [Heading("Provenance", "provenance"), KeyFacts(tuple(facts))]
    if report.provenance.get("dirty"):
        blocks.insert(1, Warning("The code had uncommitted changes when this was made."))
    return blocks + _data_table(report)


def _receipt_facts(what: str, receipt: Receipt) -> list[tuple[str, str]]:
    found = [
        (f"{what} entry", receipt.entry_hash),
        (
            f"{what} registered",
            f"{moment(receipt.time)}, entry {receipt.seq}, {'signed' if receipt.signed else 'unsigned'}",
        ),
    ]
    if receipt.head:
        covers = f", over {counted(receipt.size, 'entry', 'entries')}" if receipt.size else ""
        found.append((f"ledger head{covers}", receipt.head))
    return found


def _code_facts(provenance: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    if provenance.get("commit"):
        dirty = " with uncommitted changes" if provenance.get("dirty") else ", clean"
        found.append(("code commit", f"{clean(provenance['commit'])}{dirty}"))
    versions = provenance.get("versions") or {}
    if versions:
        found.append(("versions", ", ".join(f"{clean(k)} {clean(v)}" for k, v in sorted(versions.items()))))
    if provenance.get("replay"):
        found.append(("replay", clean(provenance["replay"])))
    for key, value in provenance.items():
        if key not in SHOWN_ELSEWHERE and not isinstance(value, (Mapping, list, tuple)) and not missing(value):
            found.append((clean(key).replace("_", " "), clean(value)))
    return found


def _data_table(report: ReportInput) -> list[Block]:
    """Every data file with its digest, and the rows that were left out with their reason."""
    data = report.provenance.get("data") or (report.observations.sources if report.observations else {})
    blocks: list[Block] = []
    if data:
        rows = [[clean(path), clean(digest)] for path, digest in sorted(data.items())]
        blocks += [Heading("Data files", "data-files", 3), Table.of(["file", "SHA-256"], rows, brief=BRIEF)]
    dropped = report.observations.dropped if report.observations else ()
    if dropped:
        rows = [[clean(name), clean(reason)] for name, reason in dropped]
        reasons = Counter(reason for _, reason in rows)
        text = "; ".join(f"{counted(n, 'row or run', 'rows or runs')}: {reason}" for reason, n in reasons.items())
        blocks += [
            Heading("Rows left out", "dropped", 3),
            Text(f"{text}."),
            Table.of(["row or run", "reason"], rows, brief=BRIEF),
        ]
    return blocks


def note_blocks(notes: Sequence[str]) -> list[Block]:
    return [Heading("Notes", "notes"), Bullets(tuple(clean(n) for n in notes))] if notes else []
