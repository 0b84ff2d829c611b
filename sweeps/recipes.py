"""Recipes: functions that return a `Sweep`, a ladder of trials and the large target that they are to predict.

Every argument has a default; a `sweep.toml` may set the same arguments by name. Amounts of compute carry their unit.

    >>> sweep = quick(instance=7)
    >>> len(sweep.trials), sweep.factor          # base and RL trials; the target's C_pre over the largest rung's
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from scaling.compute import inputs_of
from scaling.errors import InputError
from scaling.records import digest, sha256
from scaling.trials import BESIDE, EvaluationSpec, TaskSpec, TrialSpec
from scaling.units import parse_compute
from sweeps.ladder import base_trial, opchain, rl_trial
from sweeps.speed import expected_seconds

MAX_INSTANCE = 2**53
Target = tuple[TrialSpec, TrialSpec]


@dataclass(frozen=True)
class Sweep:
    """What is run, and what it is to predict.

    trials     every base trial of the ladder and its RL trial; base trials of sizes beside the ladder's have a role
    target     the large base trial and its RL trial, seedless: the ledger entry that predicts them binds their seeds
    instance   the random instance of the task
    rule       how RL compute follows from the rung, in words
    rungs      nominal C_pre of the rungs, FLOP
    factor     target's C_pre over the largest rung's
    stability  seeds of the check whether the learning rate holds with scale (stability.py); 0: not checked
    device     what the recipe is made for: "cpu", or "gpu" (speed.py)
    arguments  of the recipe, as resolved
    """

    name: str
    trials: tuple[TrialSpec, ...]
    target: Target
    instance: int
    rule: str
    rungs: tuple[float, ...]
    factor: float
    stability: int = 0
    device: str = "cpu"
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what is run and what it is to predict; names and wording do not enter."""
        return digest({"trials": sorted(t.id for t in self.trials), "target": [t.recipe_digest for t in self.target]})

    def rung(self, spec: TrialSpec) -> int | None:
        """Index of the rung a trial stands on, from 0; None for the target."""
        gaps = [abs(math.log(inputs_of(spec)["C_pre"] / rung)) for rung in self.rungs]
        nearest = min(range(len(gaps)), key=gaps.__getitem__)
        return nearest if gaps[nearest] < 0.5 else None

    @property
    def expected_s(self) -> float:
        """Seconds of the ladder, one trial after another."""
        return sum(expected_seconds(spec, self.device) for spec in self.trials)


def smoke(
    *,
    instance: int = 1,
    smallest: str = "2e8 FLOP",
    span: float = 16.0,
    rungs: int = 5,
    seeds: Sequence[Sequence[int]] = ((0, 2, 0),),
    factor: float = 10.0,
    operations: int = 64,
    trap: float = 0.125,
    rl_steps: int = 20,
    prompts: int = 16,
    group: int = 4,
    problems: int = 512,
    stability: int = 0,
) -> Sweep:
    """Everything in about ten seconds, on a task of 64 operations: for tests and first looks, not for claims."""
    return _ladder("smoke", locals())


def quick(
    *,
    instance: int = 41,
    smallest: str = "4e9 FLOP",
    span: float = 30.0,
    rungs: int = 6,
    seeds: Sequence[Sequence[int]] = ((0, 6, 0), (0, 5, 0), (0, 4, 0)),
    factor: float = 300.0,
    operations: int = 4096,
    trap: float = 0.125,
    rl_steps: int = 200,
    prompts: int = 32,
    group: int = 8,
    problems: int = 4096,
    stability: int = 6,
) -> Sweep:
    """Minutes on two cores: six rungs over a factor of 30, and a target 300 times the largest rung.

    `seeds` holds, for every rung, how many base trials are trained one size below, at, and one size above the
    ladder's width; the last row serves all further rungs. Small models vary most between seeds and cost least. Below
    4e9 FLOP the look-up circuit is still forming at some seeds: the loss falls faster there than any power law that
    fits the rungs above. An eighth of the operations are trapped (see `opchain`): a bucket that gets worse with scale.
    `stability` seeds at both ends of the ladder are trained at half and twice the learning rate too.
    """
    return _ladder("quick", locals())


def standard(
    *,
    instance: int = 1,
    smallest: str = "4e9 FLOP",
    span: float = 45.0,
    rungs: int = 9,
    seeds: Sequence[Sequence[int]] = ((0, 6, 0), (0, 5, 0), (0, 4, 0), (0, 3, 0)),
    beside: int = 2,
    apart: float = 1.4,
    factor: float = 500.0,
    operations: int = 4096,
    trap: float = 0.125,
    rl_steps: int = 200,
    prompts: int = 32,
    group: int = 8,
    problems: int = 4096,
    stability: int = 6,
) -> Sweep:
    """About twenty minutes on two cores, target included: nine rungs over a factor of 45, several sizes at each of them
    (IsoFLOP), and a target 500 times the largest rung.

    `quick` with closer and higher rungs, which is what tells a floor from a small exponent. At every rung `beside` base
    models are trained at 1 / `apart` and at `apart` times the ladder's width too (half and twice N at equal C): they
    tell what size and what data bring (`scaling surface FOLDER`). They lose up to 8 % more (measured at 4e9 .. 1.2e11
    FLOP, docs/log.md), so they have a role, no RL, and no part in laws of compute, which speak of the ladder's size.
    The target takes four fifths of the time, on one core. What pays for the sizes: the target is 500 and not 1,000
    times the largest rung, which itself is half as large again.
    """
    return _ladder("standard", locals())


def gpu(
    *,
    instance: int = 1,
    smallest: str = "1e12 FLOP",
    span: float = 100.0,
    rungs: int = 7,
    seeds: Sequence[Sequence[int]] = ((0, 3, 0),),
    beside: int = 1,
    apart: float = 1.4,
    factor: float = 1000.0,
    operations: int = 4096,
    trap: float = 0.125,
    rl_steps: int = 200,
    prompts: int = 64,
    group: int = 16,
    problems: int = 4096,
    stability: int = 0,
) -> Sweep:
    """About 25 minutes of one large GPU: 1e12 .. 1e14 FLOP, several sizes at each of seven rungs, and a target of 1e17.

    Never run on a GPU: times are assumed (speed.py), and above 1.2e14 FLOP no rule of the ladder was ever tried. RL is
    the same at every rung here too, with four times the completions a step: a GPU waits for launches, not for them.
    Small trials are bound by launches, the target by memory traffic.
    """
    return _ladder("gpu", locals(), device="gpu")


def u_shaped(
    *,
    instance: int = 1,
    smallest: str = "4e8 FLOP",
    span: float = 1000.0,
    rungs: int = 9,
    seeds: Sequence[Sequence[int]] = (
        (0, 10, 0),
        (0, 10, 0),
        (0, 10, 0),
        (0, 10, 0),
        (0, 8, 0),
        (0, 6, 0),
        (0, 4, 0),
        (0, 3, 0),
    ),
    factor: float = 2.0,
    operations: int = 16,
    zipf: float = 1.0,
    openings: int = 256,
    rl_steps: int = 4,
    prompts: int = 16,
    group: int = 4,
    problems: int = 4096,
) -> Sweep:
    """Minutes on two cores: a bucket, "signed", that falls with scale and then rises (see `openings` in `opchain`).

    Measured on five instances, one of them fresh, base models: a pass rate of .06 at 4e8 FLOP (a guess) falls to about
    .01 between 5e9 and 1.3e10, then rises to .95. The verdict is "inverse" from 4 and 5 rungs, "U-shaped" from 7 on,
    from 6 the one or the other. When a seed is corrected scatters much, the fall little: hence most seeds below and few
    operations, all of them frequent. RL is a few steps only. `benchmarks/u_shape.py` prints what is said at each rung.
    """
    return _ladder("u_shaped", locals())


RECIPES: dict[str, Callable[..., Sweep]] = {f.__name__: f for f in (smoke, quick, standard, gpu, u_shaped)}


def arguments_of(recipe: str) -> dict[str, Any]:
    """The arguments of a recipe with their defaults."""
    return {name: p.default for name, p in inspect.signature(RECIPES[recipe]).parameters.items()}


def _ladder(name: str, a: dict[str, Any], device: str = "cpu") -> Sweep:
    """The sweep that a recipe's arguments describe."""
    _check(a)
    task = opchain(a["instance"], **{name: a[name] for name in ("operations", "zipf", "trap", "openings") if name in a})
    evaluation = EvaluationSpec(problems=a["problems"], sequences=a["problems"])
    smallest = parse_compute(a["smallest"], where="smallest")
    rungs = tuple(smallest * a["span"] ** (i / max(1, a["rungs"] - 1)) for i in range(a["rungs"]))
    rl = {"steps": a["rl_steps"], "prompts": a["prompts"], "group": a["group"]}
    trials: list[TrialSpec] = []
    for index, compute in enumerate(rungs):
        for size, count in zip((-1, 0, 1), a["seeds"][min(index, len(a["seeds"]) - 1)], strict=True):
            shape = base_trial(compute, task, size=size, evaluation=evaluation)
            trials += [t for k in range(count) for t in _pair(shape, k, rl)]
        for size in (-1, 1) if a.get("beside") else ():
            shape = base_trial(compute, task, size=size, apart=a["apart"], evaluation=evaluation)
            trials += [replace(_pair(shape, k, rl)[0], role=BESIDE) for k in range(a["beside"])]
    target = base_trial(rungs[-1] * a["factor"], task, evaluation=evaluation)
    return Sweep(
        name=name,
        trials=tuple(trials),
        target=(target, rl_trial(target, **rl)),
        instance=a["instance"],
        rule=f"the same RL at every rung: {rl['steps']} steps of {rl['prompts']} prompts x {rl['group']} completions",
        rungs=rungs,
        factor=inputs_of(target)["C_pre"] / max(inputs_of(t)["C_pre"] for t in trials),
        stability=a.get("stability", 0),
        device=device,
        arguments=a,
    )


def _pair(shape: TrialSpec, index: int, rl: Mapping[str, int]) -> Target:
    """Base and RL trial number `index` of a shape. No two base trials of a sweep share a seed, hence data."""
    base = shape.with_seed(_seed(shape.task, shape.model.width, shape.steps, index, "pretrain"))
    return base, rl_trial(base, seed=_seed(shape.task, shape.model.width, shape.steps, index, "rl"), **rl)


def _seed(task: TaskSpec, *parts: object) -> int:
    """31 bits that follow from the instance and the trial's place: rungs added later leave the others as they are."""
    return int(sha256("/".join(map(str, (task.instance, *parts))).encode())[:8], 16) >> 1


def _check(a: Mapping[str, Any]) -> None:
    if not 0 <= a["instance"] < MAX_INSTANCE:
        raise InputError(f"instance {a['instance']} is outside 0 .. 2^53 - 1")
    for name, low in (
        ("rungs", 1),
        ("rl_steps", 1),
        ("prompts", 1),
        ("group", 2),
        ("problems", 2),
        ("operations", 1),
        ("stability", 0),
        ("beside", 0),
    ):
        if a.get(name, low) < low:
            raise InputError(f"{name} = {a[name]} is too few", f"at least {low}")
    for name in ("span", "factor"):
        if not 1.0 <= a[name] < math.inf:
            raise InputError(f"{name} = {a[name]} is outside 1 .. infinity")
    if not 1.0 < a.get("apart", 1.4) <= 8.0:
        raise InputError(
            f"apart = {a['apart']} is outside 1 .. 8", "sizes beside the ladder's: 1.4 is half and twice N"
        )
    rows = a["seeds"]
    if not rows or any(len(row) != 3 or min(row) < 0 or sum(row) == 0 for row in rows):
        raise InputError(
            "seeds needs three counts for every rung: one size smaller, the ladder's size, one size larger",
            "for example seeds = [[0, 4, 0], [1, 2, 1]]; the last row serves all further rungs",
        )
