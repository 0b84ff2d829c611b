"""The verbs of this room: `scaling plan` says what a sweep costs, `scaling run` runs it or its registered target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scaling.cli import emit, folder_option, json_option, note, table
from scaling.errors import InputError
from scaling.gates import read_gates
from scaling.units import format_compute, format_duration
from sweeps.status import stands, status_text

if TYPE_CHECKING:
    from scaling.registry import Ledger
    from scaling.registry.standing import Record
    from scaling.trials import TrialSpec
    from sweeps.recipes import Sweep

RESUME = "resume with the same command"
source_argument = click.argument("source", metavar="[RECIPE|FILE.toml]", required=False)
instance_option = click.option("--instance", type=int, help="Random instance of the task (other tables, other seeds).")
slots_option = click.option(
    "--slots", default=2, show_default=True, type=click.IntRange(1, 1024), help="Trials side by side, one thread each."
)
threads_option = click.option(
    "--threads", default=1, show_default=True, type=click.IntRange(1, 1024), help="Threads of every slot."
)
gpus_option = click.option(
    "--gpus", default="", metavar="0,1|all", help="One slot for each of these GPUs; without it: processor."
)


@click.command()
@source_argument
@instance_option
@slots_option
@click.option("--usd-per-hour", type=float, help="Price of one slot for an hour; without it nothing is priced.")
@click.option("--explain", is_flag=True, help="Also every decision of the ladder: rule, values, reason and source.")
@json_option
def plan(
    source: str | None, instance: int | None, slots: int, usd_per_hour: float | None, explain: bool, as_json: bool
) -> None:
    """Show what a sweep will run: sizes, tokens, compute and time, before anything is paid for.

    One dial, pre-training compute in FLOP, fixes everything else of a trial; the ladder climbs it in rungs, and the
    last rows are the large target that the ladder is to predict. Default: the recipe `quick`.

    \b
    scaling plan                       the recipe quick, for two cores
    scaling plan smoke                 the same idea in seconds
    scaling plan standard --explain    why these sizes, batches, rates, ranks
    scaling plan mine.toml --json      a file with recipe = "quick" and the arguments you change
    """
    sweep = _read(source, instance)
    body = planned(sweep, usd_per_hour=usd_per_hour) | ({"decisions": explained(sweep)} if explain else {})
    emit(body, lambda: plan_text(sweep, body, slots), as_json=as_json)


def explained(sweep: Sweep) -> list[dict[str, Any]]:
    """Every decision of the ladder, with what it came to at the smallest and largest rung and at the target."""
    from sweeps.decisions import DECISIONS

    rl = [spec for spec in sweep.trials if spec.stage == "rl"]
    specs = {"smallest": rl[0], "largest": rl[-1], "target": sweep.target[1]}
    return [
        {"decision": d.name, "rule": d.rule, "reason": d.reason, "source": d.source}
        | {place: d.read(spec) for place, spec in specs.items()}
        for d in DECISIONS.values()
    ]


def _explained_text(decisions: Sequence[dict[str, Any]]) -> list[str]:
    lines = []
    for row in decisions:
        values = " -> ".join(f"{row[place]:,.4g}" for place in ("smallest", "largest", "target"))
        lines += ["", f"{row['decision']}: {row['rule']}  [{values}]"]
        lines += [f"    why:    {row['reason']}", f"    source: {row['source']}"]
    return ["", "What the dial decides [smallest rung -> largest rung -> target]:", *lines] if lines else []


def planned(sweep: Sweep, *, usd_per_hour: float | None = None) -> dict[str, Any]:
    """The plan of a sweep as plain values: every trial, the target, slot-hours and their price."""
    from sweeps.speed import speed_of
    from sweeps.stability import extra

    parts = {"ladder": sweep.trials, "stability": extra(sweep) if sweep.stability else (), "target": sweep.target}
    rows = {name: [_planned(sweep, spec) for spec in specs] for name, specs in parts.items()}
    hours = {name: sum(row["expected_s"] for row in of) / 3600 for name, of in rows.items()}
    return {
        "sweep": sweep.name,
        "digest": sweep.digest,
        "arguments": dict(sweep.arguments),
        "rule": sweep.rule,
        "factor": sweep.factor,
        "trials": rows["ladder"],
        "device": sweep.device,
        "speed": speed_of(sweep.device).basis,
        "stability": rows["stability"],
        "target": rows["target"],
        "slot_hours": hours,
        "cost_usd": None if usd_per_hour is None else {name: h * usd_per_hour for name, h in hours.items()},
    }


@click.command()
@source_argument
@folder_option
@instance_option
@slots_option
@click.option(
    "--prediction", metavar="HASH", help="Run the target of this registered prediction, its seeds bound to it."
)
@threads_option
@gpus_option
@click.option("--minutes", type=float, help="Stop cleanly after so long; the same command goes on.")
@click.option("--retry-failed", is_flag=True, help="Try FAILED and DIVERGED trials again; otherwise they are kept.")
@click.option("--stability", is_flag=True, help="Check the learning rate at both ends even if the recipe does not.")
@click.option("--status", is_flag=True, help="Only say where every trial stands.")
@click.option("--dry-run", is_flag=True, help="Only say what would be run and how long it would take.")
@json_option
def run(
    source: str | None,
    folder: Path,
    instance: int | None,
    slots: int,
    threads: int,
    gpus: str,
    minutes: float | None,
    prediction: str | None,
    retry_failed: bool,
    stability: bool,
    status: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Run a sweep: every trial in its own folder, resumed where it stopped, finished ones never run twice.

    Stop it at any time (Ctrl-C, a crash, a kill) and give the same command again. Default: the sweep that the folder
    holds, else the recipe `quick`. With --prediction the registered target is run: its seeds come from the hash of the
    ledger's entry, so nobody can train first and predict later. Its start is entered before the first step (each time
    it is begun anew), its outcome when it is complete.

    \b
    scaling run                            the ladder, into ./forecast
    scaling run smoke --folder /tmp/try    seconds, to see it work
    scaling run --status                   where every trial stands, and what was checked
    scaling run --minutes 8                a slice of the work, on a machine lent for so long
    scaling run smoke --stability          some trials more: does the learning rate hold with scale?
    scaling run --prediction 3f9c0a1b      the large run that this prediction is about
    """
    look = status or dry_run
    if prediction and stability:
        raise click.UsageError("--stability is about the ladder and --prediction about its target: run them one by one")
    sweep = None if prediction else _ladder(source, folder, instance, look=look, status=status)
    checked = sweep is not None and bool(stability or sweep.stability)
    known, specs = (None, _specs(sweep, checked)) if sweep else _registered(folder, str(prediction))
    if look:
        from sweeps.store import Store

        trials = [Store(folder).trial(spec) for spec in specs]
        device = "gpu" if gpus else _device(sweep, folder)
        slots = slots if device == "cpu" else len(gpus.split(","))  # named ones are not looked for
    else:
        from sweeps.bound import begin, conclude
        from sweeps.executors.local import gpus_of
        from sweeps.sweep import run as run_sweep

        ledger = _ledger(folder, write=True) if known else None
        if known and ledger:
            specs = list(begin(ledger, known.entry, folder, retry_failed=retry_failed))
        devices = gpus_of(gpus)
        slots, device = len(devices) or slots, "gpu" if devices else "cpu"
        trials = run_sweep(
            specs, folder, slots=slots, threads=threads, gpus=devices, minutes=minutes, retry_failed=retry_failed
        )
        from scaling.registry import standing

        if known and ledger:
            conclude(ledger, known.entry, folder, trials)
            known = standing.find(ledger, known.entry.hash)
    left = not look and any(not trial.ended for trial in trials)
    if sweep and checked and not look and not left:
        from sweeps.stability import record

        record(sweep, folder)
    gates = read_gates(folder)
    rows = [stands(t, device) for t in trials]
    emit(
        {"trials": rows, "gates": gates, **(_told(known) if known else {})},
        lambda: status_text(trials, rows, gates, slots, device, retry_failed),
        as_json=as_json,
    )
    if left:
        note(f"the {minutes:g} minutes are over, every running trial has saved its state: {RESUME}")
    asked = [t for t in trials if stability or not t.spec.role]  # checks that nobody asked for spoil no ladder
    return 0 if look or all(t.state == "COMPLETE" or not t.ended for t in asked) else 1


def _ladder(source: str | None, folder: Path, instance: int | None, *, look: bool, status: bool) -> Sweep:
    """The sweep asked for; unless one only looks, the folder is made this sweep's."""
    from sweeps import configs

    sweep = _read(source or _own(folder, needed=status), instance)
    if not look:
        passed = {"source": source or "", **({} if instance is None else {"instance": instance})}
        configs.keep(folder, sweep, passed)
    return sweep


def _device(sweep: Sweep | None, folder: Path) -> str:
    """What the sweep is made for; of a registered target: what its folder's sweep is."""
    if sweep is None and (own := _own(folder, needed=False)):
        sweep = _read(own, None)
    return sweep.device if sweep else "cpu"


def _specs(sweep: Sweep, checked: bool) -> list[TrialSpec]:
    from sweeps.stability import extra

    return [*sweep.trials, *(extra(sweep) if checked else ())]


def _own(folder: Path, *, needed: bool) -> str | None:
    """The folder's own sweep.toml, if it has one; `needed`: a folder without one is an error."""
    from sweeps.configs import NAME

    if needed and not (folder / NAME).exists():
        raise InputError(
            f"{folder} holds no sweep", "name the folder of one, or the recipe: scaling run quick --status"
        )
    return str(folder / NAME) if (folder / NAME).exists() else None


def _read(source: str | None, instance: int | None) -> Sweep:
    from sweeps import configs

    return configs.read(source or "quick", **({} if instance is None else {"instance": instance}))


def _ledger(folder: Path, *, write: bool = False) -> Ledger:
    """To `write`: with the key that signs what is entered."""
    from scaling.registry import Ledger
    from scaling.signers import opened

    return (opened if write else Ledger)(folder / "ledger", create=False)


def _registered(folder: Path, prediction: str) -> tuple[Record, list[TrialSpec]]:
    """A registered prediction and its bound target."""
    from scaling.registry import binding, standing

    record = standing.find(_ledger(folder), prediction)
    specs, short = binding.target_trials(record.entry, record.prediction), record.entry.hash[:12]
    note(f"prediction {short}: seeds {', '.join(str(spec.seed) for spec in specs)} derive from its hash")
    return record, list(specs)


def _told(record: Record) -> dict[str, Any]:
    """How the prediction stands, also on standard error."""
    short = record.entry.hash[:12]
    if record.outcomes:
        together = ", ".join(f"{k} of {n} inside {level} %" for level, (k, n) in record.inside.items())
        note(f"prediction {short}: outcome is entry {record.outcomes[0].seq}; {together}")
    if record.sealed:
        note(f"prediction {short} is under embargo: after `scaling reveal {short}` this command enters the outcome")
    for label in record.labels:
        note(f"prediction {short}: {label}")
    return {"prediction": {"hash": record.entry.hash, "state": record.state, "labels": record.labels}}


def _planned(sweep: Sweep, spec: TrialSpec) -> dict[str, Any]:
    from scaling.compute import inputs_of
    from sweeps.speed import expected_seconds

    inputs = inputs_of(spec)
    return {
        "trial": spec.id,
        "stage": spec.stage,
        "role": spec.role or None,
        "rung": sweep.rung(spec),
        "width": spec.model.width,
        "N": inputs["N"],
        "tokens": float(spec.steps) * spec.batch * spec.task.sequence_tokens,
        "steps": spec.steps,
        "batch": spec.batch,
        "C_pre": inputs["C_pre"],
        "C_rl": inputs["C_rl"],
        "expected_s": expected_seconds(spec, sweep.device),
    }


def plan_text(sweep: Sweep, body: dict[str, Any], slots: int) -> str:
    """The plan as a table. Trials that differ in their seeds alone share a line; the target's lines have no rung."""
    rows = [*body["trials"], *body["target"]]
    head = ("trial", "stage", "rung", "seeds", "width", "N", "tokens", "steps x batch", "C_pre", "C_rl", "minutes each")
    shapes = [row["trial"].rpartition("-s")[0] if row["stage"] == "pretrain" else "" for row in rows]
    lines: Counter[tuple[Any, ...]] = Counter()
    for row, shape in zip(rows, shapes, strict=True):
        rung = "target" if row["rung"] is None else row["rung"] + 1
        stage = f"{row['stage']} ({row['role']})" if row["role"] else row["stage"]
        lines[
            (shape, stage, rung, row["width"], f"{row['N']:,.0f}", f"{row['tokens']:.3g}")
            + (f"{row['steps']} x {row['batch']}", format_compute(row["C_pre"]))
            + (format_compute(row["C_rl"]) if row["C_rl"] else None, f"{row['expected_s'] / 60:.2f}")
        ] += 1
    cells = [(*line[:3], count, *line[3:]) for line, count in lines.items()]
    hours = body["slot_hours"]
    slots = slots if body["device"] == "cpu" else 1  # trials side by side would share the one device
    beside = {"ladder": slots, "stability": slots, "target": 1}
    ladder, check, target = (format_duration(3600 * hours[name] / n) for name, n in beside.items())
    more = (
        f", stability check ({len(body['stability'])} trials at other learning rates) about {check}"
        if body["stability"]
        else ""
    )
    prices = body["cost_usd"] or {}
    price = "".join(f", {name} {prices[name]:.4f} USD" for name in beside if prices.get(name))
    return "\n".join(
        [
            f"{sweep.name}, instance {sweep.instance}: {len(sweep.trials)} trials on {len(sweep.rungs)} rungs, "
            f"target {sweep.factor:.0f}x the largest rung",
            f"RL: {sweep.rule}",
            "",
            table(head, cells),
            "",
            f"expected: ladder about {ladder}{more} on {slots} {body['device']} slots, "
            f"target about {target} on one{price}",
            f"times are {body['speed']}",
            *_explained_text(body.get("decisions", ())),
        ]
    )
