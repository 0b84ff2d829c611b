"""What a run is called in a report: its rung and which of the rung's seeds, 'target, seed 1'; never a digest alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from reports.text import clean, compute, number
from scaling.compute import inputs_of
from sweeps.store import Trial

SUFFIX = 8  # digits of a digest that stand beside a name


def run_names(ladder: Iterable[Trial], large: Sequence[Trial]) -> dict[str, str]:
    """By trial id. Base and RL trial of one seed share a name; seeds are counted in the order of their numbers."""
    targets = {t.id for t in large}
    seeds: dict[tuple[str, str], list[int]] = {}
    for trial in (*ladder, *large):
        known = seeds.setdefault(_rung(trial, targets), [])
        known += [seed] if (seed := trial.spec.base.seed) not in known else []
    titles = [title for title, _ in seeds]
    found: dict[str, str] = {}
    used: set[tuple[str, str]] = set()
    for trial in (*ladder, *large):
        rung = title, _ = _rung(trial, targets)
        size = f", N {number(inputs_of(trial.spec)['N'])}" if titles.count(title) > 1 else ""
        name = f"{title}{size}, seed {sorted(seeds[rung]).index(trial.spec.base.seed) + 1}"
        name += f" ({trial.id[:SUFFIX]})" if (name, trial.spec.stage) in used else ""
        used.add((name, trial.spec.stage))
        found[trial.id] = name
    return found


def _rung(trial: Trial, targets: set[str]) -> tuple[str, str]:
    """(what the rung is called, its model): two sizes at one compute are two rungs."""
    size = inputs_of(trial.spec)["C_pre"]
    return "target" if trial.id in targets else compute(size), f"{trial.spec.model}"


def named(names: Mapping[str, str], trial: str) -> str:
    """The name of a run, else what its source calls it."""
    return clean(names.get(trial, trial))
