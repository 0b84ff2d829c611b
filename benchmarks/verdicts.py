"""How often does each verdict err? Worlds of known kind, by number of compute scales; writes fits/verdict_rates.json.

One run a scale over three decades, relative noise 3 % (pass rates: the same size on log) where the world does not say.
One more table: whether the interval of the averaged forecast covers what the verdict cannot see.

    python benchmarks/verdicts.py [simulations] [--dry-run]      400: minutes on one core; --dry-run keeps the table
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

import fits
from fits.points import points_of
from fits.rates import TABLE
from fits.verdicts import verdict_of
from scaling.cli import table
from scaling.laws import POWER
from scaling.observations import Observation, Observations
from scaling.records import canonical, write_atomic
from scaling.verdicts import BROKEN, INVERSE, NO_TREND, PREDICTABLE, TRANSFORMED, U_SHAPED

POINTS = (4, 5, 6, 8, 10, 15)
NOISE = 0.03
LOW, HIGH = 1e9, 1e12
MIDDLE = 3.2e10
Mean = Callable[[np.ndarray], np.ndarray]


def _sigmoid(c: np.ndarray) -> np.ndarray:
    return 1 / (1 + (c / MIDDLE) ** -0.8)


LOSSES: dict[str, Mean] = {
    "a power law with a floor": lambda c: 0.45 + 0.24 * (c / 1e10) ** -0.32,
    "a power law": lambda c: (c / 1e10) ** -0.15,
    "noise alone": np.ones_like,
    "a rising power law": lambda c: (c / 1e10) ** 0.1,
    "a parabola in log C, 22 % deep (7 times the noise)": lambda c: 1 + 0.1 * np.log10(c / MIDDLE) ** 2,
    "a drop by 40 % in the last fifth": lambda c: (c / 1e10) ** -0.1 * np.where(c > 2.5e11, 0.6, 1.0),
    "a slope that doubles half way": lambda c: (c / MIDDLE) ** np.where(c < MIDDLE, -0.1, -0.2),
}
SIGMOID = "a sigmoid in log C"
FALLING = "a power law with a floor whose noise falls from 4 % to .2 %"
RISING = "a power law with a floor whose noise rises from .2 % to 4 %"
ANSWERS = "a sigmoid of accuracy from .25 to .9, of 2,000 answers"
OTHERS = (SIGMOID, FALLING, RISING, ANSWERS)
# verdict -> (worlds in which it is wrong, of which the worst counts; the world in which it is right)
TRIED: dict[str, tuple[tuple[str, ...], str]] = {
    PREDICTABLE: (
        ("noise alone", "a rising power law", "a parabola in log C, 22 % deep (7 times the noise)"),
        "a power law with a floor",
    ),
    NO_TREND: (("a power law with a floor", "a rising power law"), "noise alone"),
    INVERSE: (("noise alone", "a power law with a floor"), "a rising power law"),
    U_SHAPED: (("a power law with a floor", "noise alone"), "a parabola in log C, 22 % deep (7 times the noise)"),
    BROKEN: (("a power law with a floor", "a power law", FALLING, RISING, ANSWERS), "a drop by 40 % in the last fifth"),
    TRANSFORMED: (("noise alone", "a power law with a floor"), SIGMOID),
}


def runs(world: str, x: np.ndarray, noise: float, seed: int) -> Observations:
    """One run a row, by its true world."""
    scatter = noise * np.random.default_rng(seed).standard_normal(len(x))
    if world == SIGMOID:
        logit = np.log(_sigmoid(x) / (1 - _sigmoid(x))) + 3 * scatter
        return observed(x, 1 / (1 + np.exp(-logit)), "pass_rate")
    if world == ANSWERS:
        right = 0.25 + 0.65 * _sigmoid(x)
        return observed(x, np.random.default_rng(seed).binomial(2000, right) / 2000, "accuracy")
    if world in (FALLING, RISING):
        ends = (0.04, 0.002) if world == FALLING else (0.002, 0.04)
        world, scatter = "a power law with a floor", scatter / noise * np.geomspace(*ends, len(x))
    return observed(x, LOSSES[world](x) * np.exp(scatter), "loss")


def observed(x: np.ndarray, values: np.ndarray, metric: str) -> Observations:
    return Observations.of(
        Observation(
            id=str(i), trial=str(i), base_trial=str(i), stage="pretrain", metric=metric, protocol="p", value=float(v),
            inputs={"C": float(c)},
        )
        for i, (c, v) in enumerate(zip(x, values, strict=True))
    )  # fmt: skip


def shares(world: str, points: int, simulations: int) -> dict[str, float]:
    """Share of each verdict in a world."""
    x = np.geomspace(LOW, HIGH, points)
    found = [str(verdict_of(points_of(POWER, runs(world, x, NOISE, seed)), "log")) for seed in range(simulations)]
    return {name: found.count(name) / simulations for name in TRIED}


def measured(simulations: int) -> dict[tuple[str, int], dict[str, float]]:
    return {(w, k): shares(w, k, simulations) for k in POINTS for w in (*LOSSES, *OTHERS)}


def rates(found: dict[tuple[str, int], dict[str, float]], simulations: int) -> dict:
    """What `fits.rates` reads."""
    about = {}
    for name, (wrong, right) in TRIED.items():
        rows = [
            {
                "points": k,
                "false_alarm": round(max(found[w, k][name] for w in wrong), 4),
                "power": round(found[right, k][name], 4),
            }
            for k in POINTS
        ]
        about[name] = {
            "false_alarm_in": "false alarms in " + " or ".join(wrong),
            "power_in": f"power for {right}",
            "rates": rows,
        }
    return {"v": 1, "simulations": simulations, "noise": f"{100 * NOISE:.0f} % noise, one run each", "verdicts": about}


def covered(world: str, points: int, simulations: int) -> tuple[str, ...]:
    """Does the averaged forecast, ten times beyond the data, cover the truth where the verdict saw nothing?"""
    x, target = np.geomspace(LOW, HIGH, points), 10 * HIGH
    seen, hits, widths, hits_one = 0, [], [], []
    for seed in range(simulations):
        table_ = runs(world, x, NOISE, seed)
        fit = fits.fit(POWER, table_, resamples=200)
        if fit.verdict != PREDICTABLE:
            seen += 1
            continue
        truth = runs(world, np.array([target]), NOISE, 10**6 + seed).frame["value"].to_numpy()[0]
        for by, to in ((fits.averaged(table_, draws=400), hits), (None, hits_one)):
            made = fits.forecast(fit, target, beyond=True, by=by)
            low, high = made.interval(0.9)
            to.append(low <= truth <= high)
            if by:
                widths.append((high - low) / made.median)
    shown = (f"{np.mean(hits):.2f}", f"{np.median(widths):.2f}", f"{np.mean(hits_one):.2f}") if hits else ("", "", "")
    return (world, str(points), f"{seen / simulations:.2f}", *shown)


def main(simulations: int, write: bool) -> None:
    found = measured(simulations)
    made = rates(found, simulations)
    if write:
        write_atomic(TABLE, canonical(made) + b"\n")
    print(f"share of verdicts, {simulations} simulations, one run a scale, {100 * NOISE:.0f} % noise\n")
    rows = [(w, k, *(f"{found[w, k][name]:.2f}" for name in TRIED)) for w in (*LOSSES, *OTHERS) for k in POINTS]
    print(table(("world", "points", *TRIED), rows))
    print("\nfalse alarms (worst world) and power\n")
    rows = [
        (name, row["points"], f"{row['false_alarm']:.2f}", f"{row['power']:.2f}")
        for name, about in made["verdicts"].items()
        for row in about["rates"]
    ]
    print(table(("verdict", "points", "false alarms", "power"), rows))
    print("\nbreaks that the verdict did not see: coverage of the 90 % interval ten times beyond the data\n")
    few = max(simulations // 20, 5)
    unseen = ("a slope that doubles half way", "a drop by 40 % in the last fifth", "a power law with a floor")
    cases = [(w, k) for w in unseen for k in (5, 6, 8)]
    heads = ("world", "points", "not predictable", "covered (average)", "width / median", "covered (one law)")
    print(table(heads, [covered(w, k, few) for w, k in cases]))


if __name__ == "__main__":
    numbers = [a for a in sys.argv[1:] if a.isdigit()]
    main(int(numbers[0]) if numbers else 400, "--dry-run" not in sys.argv)
