"""versus(A, B): two recipes at a target, from two ladders, two forecasts, or two groups of runs.

    d_s = A_s - B_s          draws of both means of runs, coupled as below
    probability              share of d_s on the better side of 0
    regret                   mean of how far d_s lies on the side that was not chosen
    detectable               (t_.975 + t_.80) sd(d), Student's t of the noise's degrees of freedom (forecasts: normal)

Noise that both share (the same seeds, base trials or problems) cancels in the difference. Its correlation r is that of
the deviations of matched runs from the mean of their scale, one standard error of Fisher's z nearer to 0. Errors
of two fits to runs at the same compute have the correlation of the noise of the runs (exactly so for laws that are
linear in their parameters), so the draws are paired with that rank correlation: a Gaussian copula.
Source: Bechhofer (1954) for choosing the better of two means; Iman and Conover (1982) for the pairing of draws.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from fits.forecasts import REASON
from fits.objectives import default_objective, forward
from fits.points import Points, points_of
from fits.scatter import MANY, upper_tail
from scaling.contests import Contest
from scaling.errors import InputError, NotEarned
from scaling.fitted import Forecast, Grade, Subject
from scaling.laws import POWER, Law
from scaling.metrics import metric as metric_named
from scaling.observations import Observations

PAIRINGS = 40  # random pairings of the same draws, which takes the chance of one out
DRAWS = 20_000  # of the difference of two groups
SEED_OF = re.compile(r"-s(\w+)\Z")  # the end of a trial's name
ALONE = "one run each: nothing tells noise from difference"
ENOUGH = 4  # matched deviations, less their scales, from which a correlation is estimated


@dataclass(frozen=True)
class Group:
    """n runs of one recipe at one scale: their mean and the standard deviation of a run (n - 1 in its denominator)."""

    mean: float
    sd: float
    n: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and math.isfinite(self.sd) and self.sd >= 0 and self.n >= 1):
            raise InputError(
                f"a group of {self.n} runs with mean {self.mean} and standard deviation {self.sd}",
                "both are finite numbers, the latter not negative, of one run or more",
            )

    @classmethod
    def of(cls, values: Sequence[float]) -> Group:
        v = np.asarray(values, float)
        return cls(float(v.mean()), float(np.std(v, ddof=1)) if len(v) > 1 else 0.0, len(v))


def versus(
    a: Observations,
    b: Observations,
    compute: str | float,
    *,
    law: Law | None = None,
    names: tuple[str, str] = ("A", "B"),
    seed: int = 0,
    beyond: bool = False,
) -> Contest:
    """Two ladders of ONE metric, stage and bucket each, at `compute`: forecasts of the averaged laws (or of `law`).

    Raises NotEarned, with the contest as `.estimate`, where a side's forecast is refused, unless `beyond`."""
    from fits.combined import best_forecasts
    from fits.estimate import fit
    from fits.forecasts import forecast

    sides = []
    for one in (a, b):
        if law is not None:
            sides.append(forecast(fit(law, one, seed=seed), compute, beyond=True))
        else:
            sides.append(best_forecasts(one, compute, seed=seed).forecasts[0])
    found = versus_forecasts(*sides, names=names, shared=shared_noise(a, b), apart=own_problems(a, b), seed=seed)
    if found.refused and not beyond:
        raise NotEarned(f"{names[0]} against {names[1]}: {found.refused}", "pass beyond=True (--beyond)", found)
    return found


def versus_forecasts(
    a: Forecast,
    b: Forecast,
    *,
    names: tuple[str, str] = ("A", "B"),
    shared: tuple[float, int] = (0.0, 0),
    apart: float = 0.0,
    seed: int = 0,
) -> Contest:
    """Two forecasts of one metric at one target. `shared`: correlation of the noise of matched runs, how many.
    `apart`: standard deviation of the difference because the two were measured on problems of their own."""
    for what in ("metric", "stage", "bucket"):
        one, other = getattr(a.subject, what), getattr(b.subject, what)
        if one != other:
            raise InputError(
                f"{names[0]} is a forecast of {what} {one}, {names[1]} of {other}", "compare like with like"
            )
    if not math.isclose(a.target, b.target, rel_tol=1e-6):
        raise InputError(f"the targets differ: {a.target:.4g} and {b.target:.4g}", "forecast both at one compute")
    means = [f.draws() if f.latent_SG is None else f.latent_SG[:, f._column(None)] for f in (a, b)]
    rng = np.random.default_rng([seed, 7])
    d_S = _differences(means[0], means[1], shared[0], rng)
    run_S = _differences(a.draws(), b.draws(), shared[0], rng)
    if apart:
        chosen_S = apart * rng.standard_normal(len(d_S))
        d_S, run_S = d_S + chosen_S, run_S + chosen_S
    sides = zip(names, (a, b), strict=True)
    refused = "; ".join(f"{n} is refused: {_why(f)}" for n, f in sides if f.grade in (Grade.REFUSED, Grade.UNEARNED))
    values = (float(np.median(means[0])), float(np.median(means[1])))
    found = _contest(a.subject, names, values, d_S, run_S, MANY)
    return replace(found, target=a.target, correlation=shared[0], pairs=shared[1], refused=refused)


def versus_groups(
    a: Group | Sequence[Group],
    b: Group | Sequence[Group],
    metric: str,
    *,
    names: tuple[str, str] = ("A", "B"),
    shared: tuple[float, int] = (0.0, 0),
    apart: float = 0.0,
    seed: int = 0,
) -> Contest:
    """The mean over the groups of A against that over the groups of B, by Student's t: one variance of a run, pooled
    over all groups, on sum (n - 1) degrees of freedom. `apart`: as in `versus_forecasts`."""
    sides = [[g] if isinstance(g, Group) else list(g) for g in (a, b)]
    every = [g for side in sides for g in side]
    dof = sum(g.n - 1 for g in every)
    if dof < 1:
        raise NotEarned(ALONE, "repeat at least one of the runs")
    variance = sum((g.n - 1) * g.sd**2 for g in every) / dof
    if variance <= 1e-24 * max(g.mean**2 for g in every):
        estimate = f"{names[0]} {every[0].mean:.4g}, {names[1]} {sides[1][0].mean:.4g}, no scatter seen"
        raise NotEarned(
            "no scatter seen among repeats: nothing tells noise from difference", "give more digits", estimate
        )
    about = metric_named(metric)
    for name, side in zip(names, sides, strict=True):
        for g in side:
            about.check(g.mean, f"mean of {name}")
    values = [float(np.mean([g.mean for g in side])) for side in sides]
    of_mean = [variance * sum(1 / g.n for g in side) / len(side) ** 2 for side in sides]
    of_difference = max(of_mean[0] + of_mean[1] - 2 * shared[0] * math.sqrt(of_mean[0] * of_mean[1]), 0.0)
    rng = np.random.default_rng([seed, 7])
    factor_S = np.sqrt(dof / rng.chisquare(dof, DRAWS))
    gap = values[0] - values[1]
    d_S = gap + factor_S * math.sqrt(of_difference) * _normals(DRAWS, rng)
    if apart:
        d_S = d_S + apart * rng.standard_normal(DRAWS)
    run_S = d_S + factor_S * math.sqrt(2 * variance * (1 - shared[0])) * rng.standard_normal(DRAWS)
    whole = math.hypot(math.sqrt(of_difference), apart)
    found = _contest(Subject(metric, "unstated", "all", "unstated"), names, (values[0], values[1]), d_S, run_S, dof)
    detectable = (_t_at(0.975, dof) + _t_at(0.80, dof)) * whole
    return replace(
        found,
        difference=gap,
        sd=whole,
        detectable=detectable,
        correlation=shared[0],
        pairs=shared[1],
    )


def versus_runs(a: Observations, b: Observations, *, names: tuple[str, str] = ("A", "B"), seed: int = 0) -> Contest:
    """The runs of two tables at the largest compute scale that both have, as two groups."""
    one, other = points_of(POWER, a), points_of(POWER, b)
    common = [x for x in one.scale_x if np.any(np.abs(np.log(other.scale_x / x)) < math.log(1.1))]
    if not common:
        raise InputError(
            f"{names[0]} and {names[1]} share no compute scale", "say where to compare them: --at '1e23 FLOP'"
        )
    at = [np.abs(np.log(p.x / common[-1])) < math.log(1.1) for p in (one, other)]
    sides = [Group.of(p.value[i].tolist()) for p, i in zip((one, other), at, strict=True)]
    errors = [float(np.median(p.se[i])) for p, i in zip((one, other), at, strict=True)]
    if all(s.n == 1 for s in sides) and all(map(math.isfinite, errors)):
        estimate = _of_errors(one.subject, names, (sides[0].mean, sides[1].mean), errors, seed)
        raise NotEarned(ALONE, "repeat at least one of the runs: the estimate's errors leave the seed out", estimate)
    found = versus_groups(
        sides[0],
        sides[1],
        one.subject.metric,
        names=names,
        shared=shared_noise(a, b),
        apart=own_problems(a, b),
        seed=seed,
    )
    return replace(found, subject=one.subject)


def _of_errors(
    subject: Subject, names: tuple[str, str], values: tuple[float, float], errors: Sequence[float], seed: int
) -> Contest:
    """Two single runs by the errors that they state (of samples and problems, as if those were each side's own):
    without what another seed would change."""
    d_S = values[0] - values[1] + math.hypot(*errors) * _normals(DRAWS, np.random.default_rng([seed, 7]))
    found = _contest(subject, names, values, d_S, d_S, MANY)
    return replace(found, refused="one run each, without the noise of seeds")


def shared_noise(a: Observations, b: Observations) -> tuple[float, int]:
    """(r, matched runs): correlation of the deviations of matched runs from the mean of their scale, one standard error
    nearer to 0. Runs match that are of one base trial, or have one seed, at one compute scale."""
    one, other = points_of(POWER, a), points_of(POWER, b)
    scale = default_objective(np.concatenate([one.value, other.value]))[0].scale
    keys = [_keys(p) for p in (one, other)]
    both = [k for k in keys[0] if k in keys[1]]
    z = [forward(scale, p.value) for p in (one, other)]
    pairs = [(k, z[0][keys[0][k]], z[1][keys[1][k]]) for k in both]
    places = {k[1] for k in both}
    if len(pairs) - len(places) < ENOUGH:
        return 0.0, 0
    deviations = []
    for place in places:
        some = np.array([(x, y) for k, x, y in pairs if k[1] == place])
        deviations.append(some - some.mean(0))
    d = np.concatenate(deviations)
    if np.ptp(d) > 0 and all(x == y for _, x, y in pairs):
        raise InputError("A and B hold the same runs", "give two recipes' runs")
    size = math.sqrt(float(np.sum(d[:, 0] ** 2) * np.sum(d[:, 1] ** 2)))
    if size <= 0:
        return 0.0, 0
    r, dof = float(np.sum(d[:, 0] * d[:, 1])) / size, len(pairs) - len(places)
    far = math.atanh(min(max(r, -0.999999), 0.999999))
    kept = math.copysign(math.tanh(max(abs(far) - 1 / math.sqrt(max(dof - 2, 1)), 0.0)), far)
    return (kept, len(pairs)) if kept else (0.0, 0)


def own_problems(a: Observations, b: Observations) -> float:
    """Standard deviation of the difference from the choice of problems: 0 where both were measured on the same ones
    (one protocol), else that of both sides' own, at their largest scale."""
    if a.one_metric()[3] == b.one_metric()[3]:
        return 0.0
    errors = []
    for one in (a, b):
        rows = one.frame[(one.frame["se_kind"] == "problems").to_numpy(bool)]
        last = rows[one.axis].max()
        errors.append(float(np.nan_to_num(rows.loc[rows[one.axis] > last / 1.1, "se"].median())))
    return math.hypot(*errors)


def _keys(points: Points) -> dict[tuple[str, int], int]:
    """(who, where) -> row: who is the base trial's seed, where its scale in steps of 10 %, as far as that is unique."""
    found: dict[tuple[str, int], int] = {}
    twice = set()
    for i, base in enumerate(points.base_trial):
        seed = SEED_OF.search(base)
        key = (seed.group(1) if seed else base, round(math.log(points.scale_x[points.scale[i]]) / math.log(1.1)))
        twice |= {key} & set(found)
        found[key] = i
    return {k: i for k, i in found.items() if k not in twice}


def _contest(
    subject: Subject,
    names: tuple[str, str],
    values: tuple[float, float],
    d_S: np.ndarray,
    run_S: np.ndarray,
    dof: float,
) -> Contest:
    good = 1.0 if metric_named(subject.metric).better == "higher" else -1.0
    probability = float(np.mean(good * d_S > 0) + 0.5 * np.mean(d_S == 0))
    lost_S = np.maximum(-good * d_S if probability >= 0.5 else good * d_S, 0.0)
    low, middle, high = np.quantile(d_S, [0.05, 0.5, 0.95])
    lower, upper = np.quantile(d_S, [0.1587, 0.8413])
    sd = float(upper - lower) / 2
    return Contest(
        subject=subject,
        a=names[0],
        b=names[1],
        value_a=values[0],
        value_b=values[1],
        probability=probability,
        probability_run=float(np.mean(good * run_S > 0) + 0.5 * np.mean(run_S == 0)),
        difference=float(middle),
        low=float(low),
        high=float(high),
        sd=sd,
        regret=float(np.mean(lost_S)),
        detectable=(_t_at(0.975, dof) + _t_at(0.80, dof)) * sd,
    )


def _differences(a_S: np.ndarray, b_S: np.ndarray, r: float, rng: np.random.Generator) -> np.ndarray:
    """A - B over PAIRINGS pairings of the draws with rank correlation r."""
    count = min(len(a_S), len(b_S))
    a_S, b_S = np.sort(rng.permutation(a_S)[:count]), np.sort(rng.permutation(b_S)[:count])
    found = []
    for _ in range(PAIRINGS):
        one, other = rng.standard_normal((2, count))
        other = r * one + math.sqrt(1 - r * r) * other
        found.append(a_S[np.argsort(np.argsort(one))] - b_S[np.argsort(np.argsort(other))])
    return np.concatenate(found)


def _normals(count: int, rng: np.random.Generator) -> np.ndarray:
    """Standard normal draws, symmetric about 0: a difference of 0 has probability 1/2."""
    half = rng.standard_normal(count // 2)
    return np.concatenate([half, -half])


@lru_cache(maxsize=256)
def _t_at(level: float, dof: float) -> float:
    """The quantile of Student's t, level > 1/2, by bisection."""
    low, high = 0.0, 1e3
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if upper_tail(middle, dof) > 1 - level else (low, middle)
    return (low + high) / 2


def _why(forecast: Forecast) -> str:
    return next((w.removeprefix(REASON) for w in forecast.warnings if w.startswith(REASON)), forecast.grade.value)
