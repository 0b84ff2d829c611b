"""A project's folder, read as a whole: what its report is made from.

Everything stands in the folder (trials, target, ledger); fits and forecasts are made again from it, by the same
functions and seeds as when they were registered. A forecast of a target uses cheaper runs only, so a folder whose
target is already trained gives the same forecast as before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fits
from fits.backtests import with_backtests
from reports.inputs import Receipt, ReportInput
from reports.rl_runs import run_looks, run_scores, usable_runs
from reports.run_names import run_names
from scaling.compute import inputs_of, trial_flop
from scaling.errors import InputError, StoreError
from scaling.fitted import BacktestRow, Fit, Forecast
from scaling.gates import gates_path
from scaling.observations import OVERALL, Observations
from scaling.provenance import provenance
from scaling.records import file_digest, parse
from scaling.registry import Ledger, proofs, standing
from scaling.sensitivities import Sensitivities
from scaling.trials import BESIDE, TrialSpec
from scaling.units import parse_compute
from sweeps.configs import read_target
from sweeps.store import Store, Trial

AXIS = "C_pre"  # the one dial of a sweep
MOST_EXAMINED = 8  # questions whose choices are tried: half a second each


@dataclass(frozen=True)
class Project:
    """The folder's target (seedless specifications by stage), its trials, and the forecasts made from the ladder."""

    folder: Path
    target: Mapping[str, TrialSpec]
    ladder: tuple[Trial, ...]
    large: tuple[Trial, ...]
    observations: Observations
    fits: tuple[Fit, ...]
    forecasts: tuple[Forecast, ...]
    backtests: tuple[BacktestRow, ...]

    @property
    def target_compute(self) -> float:
        return inputs_of(self.target["pretrain"])[AXIS]

    def sensitivities(self) -> tuple[Sensitivities, ...]:
        """Of the headline questions: some seconds, spent when a report is made."""
        return sensitivities_of(self.observations, self.fits, self.target_compute)


def read_project(folder: Path, *, seed: int = 0) -> Project:
    """Read a folder and fit, back-test and forecast from what is in it."""
    target = dict(zip(("pretrain", "rl"), read_target(folder), strict=True))
    compute = inputs_of(target["pretrain"])[AXIS]
    observations = Observations.read(folder / "runs").below(compute)
    best = fits.best_forecasts(observations, compute, seed=seed)
    ladder, large = trials_of(folder, target)
    return Project(
        folder=folder,
        target=target,
        ladder=ladder,
        large=large,
        observations=observations,
        fits=best.fits,
        forecasts=best.forecasts,
        backtests=best.backtests,
    )


def refreshed(project: Project) -> Project:
    """The same fits and forecasts, with the trials as they stand now: the target is trained after the forecast."""
    ladder, large = trials_of(project.folder, project.target)
    return replace(project, ladder=ladder, large=large)


def trials_of(folder: Path, target: Mapping[str, TrialSpec]) -> tuple[tuple[Trial, ...], tuple[Trial, ...]]:
    """(the ladder's trials, the target's), checks of the recipe left out."""
    recipes = {spec.recipe_digest for spec in target.values()}
    trials = trials_in(folder)
    ladder = tuple(t for t in trials if t.spec.recipe_digest not in recipes and not t.spec.role)
    return ladder, tuple(t for t in trials if t.spec.recipe_digest in recipes)


def fitted(observations: Observations, *, seed: int = 0) -> tuple[list[Fit], list[BacktestRow]]:
    """One fit per subject with what its back-tests earned, and the rows of those back-tests."""
    made, tested = [], []
    for table in fits.subjects(observations):
        law = fits.default_law(table)
        rows = fits.backtest(law, table, seed=seed)
        made.append(with_backtests(fits.fit(law, table, seed=seed), rows))
        tested += rows
    return made, tested


def trials_in(folder: Path) -> list[Trial]:
    """Every trial of a folder, failed and unfinished ones too."""
    store = Store(folder)
    found = []
    for path in sorted((folder / "runs").glob("*/spec.json")):
        try:
            spec = TrialSpec.from_json(parse(path.read_bytes(), what=str(path)))
            if spec.id != path.parent.name:
                raise InputError(f"it is the specification of trial {spec.id}")
        except InputError as error:
            message = error.message.removeprefix(f"{path} is ")
            raise StoreError(f"{path} cannot be used: {message}", f"remove {path.parent} if it is no trial") from None
        found.append(store.trial(spec))
    return found


def report_input(project: Project, record: standing.Record | None = None, *, notes: Sequence[str] = ()) -> ReportInput:
    """All that the report of a project shows; `record` is its prediction in the ledger, if there is one."""
    task = project.target["pretrain"].task
    proof, proven = _proof(project.folder, record)
    names = run_names(project.ladder, project.large)
    runs = usable_runs(project.folder, project.ladder, project.large)
    looks = run_looks(runs, names)
    return ReportInput(
        title=f"{task.name} {task.instance}: a GRPO-LoRA run predicted before it was trained",
        observations=project.observations,
        fits=project.fits,
        forecasts=shown_forecasts(project, record),
        prediction=record.prediction if record else None,
        receipt=Receipt.of(proven, record.entry) if record and proven else None,
        resolution=record.resolution if record else None,
        outcome_receipt=Receipt.of(proven, record.outcomes[0]) if record and record.outcomes and proven else None,
        course=record.course if record else None,
        scores=record.scores if record else (),
        trials=[trial_row(t) for t in (*project.ladder, *project.large)],
        costs=costs(project),
        provenance=_provenance(record.prediction.provenance if record else made_from(project)),
        backtests=project.backtests,
        sensitivities=project.sensitivities(),
        gates=project.observations.gates,
        rl_runs=looks,
        rl_scores=run_scores(project.folder, runs, looks),
        run_names=names,
        notes=(*notes, *(record.remarks if record else ()), *changes(project, record)),
        proof=proof,
    )


def shown_forecasts(project: Project, record: standing.Record | None) -> list[Forecast]:
    """After registration the registered forecasts, read back from the ledger, and those not claimed (refused). A ledger
    does not keep what they are made of: that is told of those that come out the same again."""
    if record is None:
        return list(project.forecasts)
    ledger = Ledger(project.folder / "ledger", create=False)
    again = {f.draws_digest: f.parts for f in project.forecasts}
    claimed = [
        replace(claim.forecast(ledger.get_blob(claim.draws_blob)), parts=again.get(claim.draws_digest, {}))
        for claim in record.prediction.claims
    ]
    known = {(f.subject, f.law) for f in claimed}
    return claimed + [f for f in project.forecasts if (f.subject, f.law) not in known]


def sensitivities_of(observations: Observations, made: Iterable[Fit], compute: float) -> tuple[Sensitivities, ...]:
    """The tables of what a report's headlines are about: the whole problem set, or the buckets where there is none."""
    made = list(made)
    headlines = [f for f in made if f.subject.bucket == OVERALL] or made
    return fits.sensitivities(observations, headlines[:MOST_EXAMINED], compute)


def made_from(project: Project) -> dict[str, Any]:
    path = gates_path(project.folder)
    data = {**project.observations.sources, **({path.name: file_digest(path)} if path.exists() else {})}
    return provenance(data=data, replay=f"scaling demo --folder {project.folder.name}", seed=0)


def trial_row(trial: Trial) -> dict[str, Any]:
    inputs = {**inputs_of(trial.spec), **trial.result.get("inputs", {})}
    keys = ("N", "D", "C_pre", "C_rl", "executed_flop", "wall_s")
    return {
        "id": trial.id,
        "stage": trial.spec.stage,
        "rung": inputs["C_pre"],
        "seed": str(trial.spec.seed),
        "state": str(trial.state),
        "reason": trial.reason,
        "tripped": [str(gate) for gate in trial.tripped],
        **{k: inputs.get(k) for k in keys},
    }


def costs(project: Project) -> dict[str, float]:
    """Spent on the ladder, sizes beside it too, and on the target: algorithmic and executed FLOP, core-hours of the
    trials. Checks apart."""
    found: dict[str, float] = {}
    others = [t for t in trials_in(project.folder) if t.spec.role]
    spent = (*project.ladder, *(t for t in others if t.spec.role == BESIDE))
    for name, trials in (("spent", spent), ("target", project.large)):
        ended = [t for t in trials if t.ended]
        if not ended and name == "target":
            found["target_flop"] = sum(trial_flop(s).total for s in project.target.values())
            continue
        found[f"{name}_flop"] = sum(trial_flop(t.spec).total for t in ended)
        found[f"{name}_executed_flop"] = sum(t.result["inputs"].get("executed_flop", 0.0) for t in ended)
        found[f"{name}_core_h"] = sum(t.result.get("total_s", 0.0) for t in ended) / 3600
    if checks := [t for t in others if t.spec.role != BESIDE and t.ended]:
        found["core-hours_of_checks"] = sum(t.result.get("total_s", 0.0) for t in checks) / 3600
    return found


def _proof(folder: Path, record: standing.Record | None) -> tuple[dict[str, Any] | None, proofs.Proven | None]:
    if record is None:
        return None, None
    made = proofs.prove(Ledger(folder / "ledger", create=False), record.entry.hash)
    return made, proofs.check(made)


def _provenance(made: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance of a prediction under the names that the report prints."""
    code = made.get("code") or {}
    rest = {k: v for k, v in made.items() if k not in ("code", "argv") and v is not None}
    return {**rest, "commit": code.get("commit"), "dirty": code.get("uncommitted")}


def changes(project: Project, record: standing.Record | None) -> list[str]:
    """What a reader must know where today's program would forecast otherwise than the registered one did."""
    if record is None:
        return []
    again = {f.draws_digest for f in project.forecasts}
    differ = [c.id for c in record.prediction.claims if c.draws_digest not in again]
    if not differ:
        return []
    return [
        f"Forecasts and bands are the registered ones. Made again with the present program or data, "
        f"{len(differ)} of {len(record.prediction.claims)} come out differently ({', '.join(differ[:3])} ...); "
        "laws, parameters and back-tests below are the present program's."
    ]


def report_of(path: Path, *, at: str | None = None, prediction: str = "latest") -> ReportInput:
    """The report of a folder (with its prediction, if the ledger has one) or of a CSV at a stated compute."""
    if path.is_dir():
        if at:
            raise InputError("--at goes with a CSV", "a folder's target stands in its target.json")
        ledger = path / "ledger"
        known = (ledger / "entries.jsonl").exists()
        record = standing.find(Ledger(ledger, create=False), prediction) if known else None
        return report_input(read_project(path), record)
    observations = Observations.read(path)
    compute = parse_compute(at, where="--at") if at else None
    if compute:
        best = fits.best_forecasts(observations.below(compute), compute)
        made, tested = list(best.fits), list(best.backtests)
    else:
        best, (made, tested) = None, fitted(observations)
    return ReportInput(
        title=f"Forecast from {path.name}",
        observations=observations,
        fits=made,
        forecasts=best.forecasts if best else (),
        backtests=tested,
        sensitivities=sensitivities_of(observations, made, compute) if compute else (),
        provenance=_provenance(provenance(data=dict(observations.sources), replay=f"scaling report {path.name}")),
    )
