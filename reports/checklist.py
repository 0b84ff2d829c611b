"""The reporting checklist of "(Mis)Fitting: a survey of scaling laws" (Li, Kudugunta, Zettlemoyer, ICLR 2025).

Each item has a key, a question, and a function that reads the answer from the report's own nouns. What only the user
knows comes from `ReportInput.answers[key]`, which wins. An empty answer prints NOT REPORTED.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from reports.blocks import Block, Checklist, Heading, Text
from reports.inputs import ReportInput
from reports.methods import mixed_kinds
from reports.text import clean, compute, counted, listed, number, times
from scaling.laws import LAWS
from scaling.metrics import METRICS


@dataclass(frozen=True)
class Item:
    key: str
    question: str
    answer: Callable[[ReportInput], str]


def checklist_blocks(report: ReportInput) -> list[Block]:
    groups = tuple(
        (group, tuple((item.question, answer_of(item, report)) for item in items)) for group, items in ITEMS.items()
    )
    checklist = Checklist(groups)
    total = sum(len(items) for _, items in groups)
    text = f"{total - len(checklist.unanswered)} of {total} items are reported."
    source = 'Items after "(Mis)Fitting: a survey of scaling laws" (Li, Kudugunta and Zettlemoyer, ICLR 2025).'
    return [Heading("Reporting checklist", "checklist"), Text(f"{text} {source}"), checklist]


def answer_of(item: Item, report: ReportInput) -> str:
    given = report.answers.get(item.key, "")
    return clean(given).strip() or clean(item.answer(report)).strip()


def _forms(r: ReportInput) -> str:
    names = dict.fromkeys(f.law for f in r.fits)
    forms = "; ".join(f"{n}: {LAWS[n].usual or LAWS[n].text}" if n in LAWS else n for n in names)
    return ". ".join([forms, *mixed_kinds(c.law for c in r.claims)])


def _variables(r: ReportInput) -> str:
    axes = dict.fromkeys(f.subject.axis for f in r.fits)
    return f"{listed(axes)} in FLOP" if axes else ""


def _parameters(r: ReportInput) -> str:
    return "; ".join(f"{f.law}: {listed(f.parameters)}" for f in {f.law: f for f in r.fits}.values())


def _laws(r: ReportInput) -> str:
    return f"{counted(len(r.fits), 'fit')}, of {counted(len({f.law for f in r.fits}), 'law')}" if r.fits else ""


def _models(r: ReportInput) -> str:
    if r.trials:
        stages = [str(t.get("stage")) for t in r.trials if str(t.get("state")) == "COMPLETE"]
        return ", ".join(f"{stages.count(s)} {s}" for s in dict.fromkeys(stages)) + " runs complete" if stages else ""
    return counted(r.observations.frame["trial"].nunique(), "run") if r.observations is not None else ""


def _sizes(r: ReportInput) -> str:
    return _range(r, "N", "parameters")


def _tokens(r: ReportInput) -> str:
    return _range(r, "D", "training tokens")


def _range(r: ReportInput, column: str, unit: str) -> str:
    values = [float(t[column]) for t in r.trials if t.get(column)]
    if not values and r.observations is not None and column in r.observations.frame:
        values = [float(v) for v in r.observations.frame[column].dropna() if v > 0]
    if not values:
        return ""
    return f"{number(min(values))} to {number(max(values))} {unit}, {counted(len(set(values)), 'value')}"


def _repeats(r: ReportInput) -> str:
    if r.observations is None:
        return ""
    frame, axis = r.observations.frame, r.observations.axis
    per = frame.drop_duplicates(["trial", axis]).groupby(["stage", axis])["trial"].nunique()
    return f"{per.min()} to {per.max()} runs per compute scale" if per.min() < per.max() else f"{per.min()} per scale"


def _max_compute(r: ReportInput) -> str:
    if not r.fits:
        return ""
    text = f"fitted up to {compute(max(f.max_x for f in r.fits))}"
    targets = [c.target for c in r.claims]
    if not targets:
        return text
    return f"{text}; target {compute(max(targets))}, {times(max(c.factor for c in r.claims))} beyond"


def _counting(r: ReportInput) -> str:
    definitions = {f.subject.compute_definition for f in r.fits} - {"unstated"}
    if "algorithmic-v1" in definitions:
        return ("algorithmic-v1: every position of the specified lengths; N without embeddings and head, FLOPs with "
                "the head; causal attention included; rollouts, reference and LoRA updates counted for RL; "
                "evaluation apart; code: scaling/compute.py")  # fmt: skip
    return listed(sorted(definitions))


def _metric(r: ReportInput) -> str:
    names = dict.fromkeys(f.subject.metric for f in r.fits)
    return "; ".join(f"{n}: {METRICS[n].says}" if n in METRICS else n for n in names)


def _protocol(r: ReportInput) -> str:
    protocols = dict.fromkeys(f.subject.protocol for f in r.fits if f.subject.protocol != "unstated")
    return "protocol " + listed(p[:16] for p in protocols) if protocols else ""


def _points(r: ReportInput) -> str:
    counts = [f.n_points for f in r.fits]
    if not counts:
        return ""
    return f"{min(counts)} to {max(counts)} per law" if min(counts) < max(counts) else f"{counts[0]} per law"


def _dropped(r: ReportInput) -> str:
    if r.observations is None:
        return ""
    dropped = r.observations.dropped
    failed = sum(str(t.get("state")) in ("FAILED", "DIVERGED") for t in r.trials)
    text = counted(len(dropped), "row or run", "rows or runs") + " left out, each listed with its reason"
    return ("no row left out" if not dropped else text) + (f"; {counted(failed, 'run')} failed" if failed else "")


def _objective(r: ReportInput) -> str:
    kinds = listed(dict.fromkeys(f.objective.split(";")[0] for f in r.fits))
    priors = {f.law: f.objective.split(";", 1)[1].strip() for f in r.fits if ";" in f.objective}
    return kinds + "".join(f"; {law}, for example: {prior}" for law, prior in priors.items())


def _method(r: ReportInput) -> str:
    return listed(dict.fromkeys(f.method for f in r.fits))


def _initialisation(r: ReportInput) -> str:
    seeds = dict.fromkeys(str(f.seed) for f in r.fits)
    return f"several starts by the solver, random seed {listed(seeds)}" if seeds else ""


def _bootstrap(r: ReportInput) -> str:
    counts = sorted({len(f.draws_SP) for f in r.fits})
    booted = "yes" if "bootstrap" in _method(r) else "no, by another way"
    return f"{booted}: {listed(map(str, counts))} draws of the parameters; {_method(r)}" if counts else ""


def _judged(r: ReportInput) -> str:
    parts = [f"back-tests: {counted(len(r.backtests), 'held-out point')}"] * bool(r.backtests)
    parts += ["predictive intervals"] * bool(r.forecasts)
    parts += [f"registered outcome: {counted(len(r.scores), 'claim')} scored by CRPS"] * bool(r.scores)
    return "; ".join(parts)


def _code(r: ReportInput) -> str:
    commit = r.provenance.get("commit")
    return f"commit {commit}; {r.provenance.get('replay', '')}".rstrip("; ") if commit else ""


def _data_open(r: ReportInput) -> str:
    sources = r.provenance.get("data") or (r.observations.sources if r.observations is not None else {})
    return f"{counted(len(sources), 'file')}, listed with SHA-256 under Provenance" if sources else ""


def _specs(r: ReportInput) -> list[Mapping[str, Any]]:
    """Specifications of the target run, as the prediction registered them."""
    specs = r.prediction.target.get("specs") if r.prediction else None
    return [s for s in specs.values() if isinstance(s, Mapping)] if isinstance(specs, Mapping) else []


def _architecture(r: ReportInput) -> str:
    for spec in _specs(r):
        model, task = spec.get("model") or {}, spec.get("task") or {}
        if model and task:
            return (f"Llama-type decoder, target {model.get('layers')} x {model.get('width')}; task "
                    f"{task.get('name')}, instance {task.get('instance')}, generated by this program")  # fmt: skip
    return ""


def _hyperparameters(r: ReportInput) -> str:
    rule = r.prediction.target.get("rule") if r.prediction else None
    return f"derived from compute by one ladder, with RL by one rule: {rule}" if rule else ""


def _checkpoints(r: ReportInput) -> str:
    return "one per run, its last; prefixes of a run are never used as points" if r.trials else ""


def _modification(r: ReportInput) -> str:
    return "none: measured values enter the fit as they are" if r.observations is not None else ""


ITEMS: dict[str, tuple[Item, ...]] = {
    "What is fitted": (
        Item("form", "Form of the law", _forms),
        Item("variables", "Variables it is a function of", _variables),
        Item("parameters", "Parameters", _parameters),
        Item("laws", "How many laws are fitted", _laws),
    ),
    "Training": (
        Item("models", "How many models were trained", _models),
        Item("sizes", "Model sizes", _sizes),
        Item("tokens", "Training data per model", _tokens),
        Item("repeats", "Repeats (seeds) per scale", _repeats),
        Item("max_compute", "Largest compute", _max_compute),
        Item("counting", "How parameters, data and compute are counted", _counting),
        Item("architecture", "Architecture and data set", _architecture),
        Item("hyperparameters", "How hyperparameters are chosen, and whether they change with scale", _hyperparameters),
        Item("code", "Training and analysis code", _code),
        Item("checkpoints_open", "Checkpoints and metric scores open", _data_open),
    ),
    "Data of the fit": (
        Item("checkpoints", "Checkpoints per model, and how chosen", _checkpoints),
        Item("metric", "Metric", _metric),
        Item("evaluation", "Data set and protocol of the metric", _protocol),
        Item("modification", "Modification of the metric (interpolation, smoothing)", _modification),
        Item("points", "Data points per law", _points),
        Item("dropped", "Subsets and outliers left out", _dropped),
    ),
    "Fitting": (
        Item("objective", "Objective", _objective),
        Item("algorithm", "Algorithm and its settings", _method),
        Item("initialisation", "Initialisation", _initialisation),
        Item("bootstrap", "Bootstrapping", _bootstrap),
        Item("judged", "How correctness is judged", _judged),
    ),
}
