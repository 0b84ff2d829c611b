"""Verdicts: does the data show a trend that a falling (or rising) law may extrapolate at all?

Tests on the scale means z_k (the fitting scale), with the noise of a run from replicates, declared errors or, where
there are neither, from how far each mean lies off the line between its neighbours (Gasser, Sroka and Jennen-Steinmetz
1986: no law assumed; a curved trend only makes it larger).

    too little data         fewer than 4 compute scales
    no identifiable trend   slope of z on log C not different from 0 (two-sided t-test, 5 %)
    inverse                 a significant slope in the direction that is worse for the metric
    U-shaped                some scale is significantly better (or worse) than the first AND than the last
                            (every pair tested by the pair's own variances, Bonferroni, 5 %): no monotone law does that
    broken                  a law with one break fits far better than the metric's own without (breaks.py, 5 %; 2.5 % of
                            single runs without declared errors)
    predictable after       no identifiable trend or broken, but on another scale (transforms.py) neither
    a transform
    predictable             otherwise
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from fits.breaks import DRAWS, FEWEST, Break, break_test
from fits.objectives import Scale, default_objective, forward, slope
from fits.points import Points, points_of
from fits.rates import rated
from fits.scatter import REPLICATES, Noise, drawn, moderated, noise_of, upper_tail
from fits.transforms import Transform, own, transforms
from scaling.laws import POWER
from scaling.metrics import metric as metric_named
from scaling.observations import Observations
from scaling.units import format_compute
from scaling.verdicts import (
    BROKEN,
    INVERSE,
    NO_TREND,
    PREDICTABLE,
    TOO_LITTLE,
    TRANSFORMED,
    U_SHAPED,
    UNTESTED,
    Verdict,
)

__all__ = [
    "BROKEN", "INVERSE", "NO_TREND", "PREDICTABLE", "TOO_LITTLE", "TRANSFORMED", "UNTESTED", "U_SHAPED",
    "trend_of", "verdict", "verdict_of",
]  # fmt: skip
SCALES, LEVEL = 4, 0.05
LEVEL_ALONE = 0.025  # of a break in single runs without declared errors: what is left of uneven noise


def verdict(observations: Observations) -> Verdict:
    """The verdict on the finished runs of ONE metric, stage, bucket and protocol."""
    points = points_of(POWER, observations)
    return verdict_of(points, default_objective(points.value)[0].scale)


def verdict_of(points: Points, scale: Scale) -> Verdict:
    """All tests, with the rates at which the one that decided errs."""
    found = trend_of(points, scale)
    on = own(points.subject.metric, scale) if found.name == PREDICTABLE else None
    made = _break(points, on) if on and not _unseen(points) else None
    if on and made and made.p < _level(points):
        found = _transformed(points, _broken(points, made), (on, made))
    elif found.name == NO_TREND:
        found = _transformed(points, found)
    return rated(found)


def trend_of(points: Points, scale: Scale) -> Verdict:
    """The quick tests: too little data, U-shaped, no identifiable trend, inverse, or predictable as far as they see."""
    if points.n_scales < SCALES:
        missing = SCALES - points.n_scales
        more = f"runs at {missing} more compute scale{'s' * (missing > 1)}"
        return Verdict(TOO_LITTLE, points.n_scales, would_change=more)
    # z rises where the metric gets better
    sign = 1.0 if metric_named(points.subject.metric).better == "higher" else -1.0
    z_n = sign * forward(scale, points.value)
    return _trend(points, z_n, points.se * np.abs(slope(scale, points.value)))


def _trend(points: Points, z_n: np.ndarray, declared_n: np.ndarray, level: float = LEVEL) -> Verdict:
    """Of values z that rise where the metric gets better."""
    z_K = points.means(z_n)
    units_K = np.bincount(points.scale, points.share)
    noise = noise_of(points, z_n, declared_n)
    turn = _turn(points, z_n, z_K, units_K, noise, level)
    if turn is not None:
        return turn
    log_x = np.log(points.scale_x)
    weight = units_K / units_K.sum()
    centred = log_x - np.sum(weight * log_x)
    spread = float(np.sum(units_K * centred**2))
    rate = float(np.sum(units_K * centred * z_K)) / spread
    t = rate * math.sqrt(spread) / noise.sd
    p = 2 * noise.upper_tail(abs(t))
    tested = Verdict(NO_TREND, points.n_scales, "t-test of the slope, t =", t, p, "no slope")
    if p > level:
        return replace(tested, would_change=_until_seen(t))
    if rate < 0:
        change = "a larger scale that is significantly better than the best so far: then it is U-shaped"
        return replace(tested, name=INVERSE, would_change=change)
    return replace(tested, name=PREDICTABLE, would_change="a larger scale that lies off the law, or gets worse again")


def _until_seen(t: float) -> str:
    """How much more data a slope of this size needs to be seen (80 % power, two-sided 5 %)."""
    factor = ((1.96 + 0.84) / max(abs(t), 1e-9)) ** 2
    if factor > 100:
        return "a wider range of compute: more runs of these scales would hardly show a trend this small"
    times = math.ceil(max(factor, 1.1) * 10) / 10
    return f"{times:g}x as many runs, or a wider range of compute, if the slope is what it seems"


def _turn(
    points: Points, z_n: np.ndarray, z_K: np.ndarray, units_K: np.ndarray, noise: Noise, level: float
) -> Verdict | None:
    """Some inner scale lies above both ends, or below both (a curve that got better first or, like Hindsight Neglect,
    worse first); the weaker of its two t-tests (Welch) counts, corrected for the scales tried in both directions."""
    sd_K, dof_K = np.full(len(z_K), noise.sd), np.full(len(z_K), noise.dof)
    if points.n_units - points.n_scales >= REPLICATES:
        sd_K, dof_K = moderated(points, z_n)
    variance_K, inner = sd_K**2 / units_K, range(1, len(z_K) - 1)
    found = [
        (*_weaker(sign * z_K, variance_K, dof_K, k), sign, k)
        for sign in (1.0, -1.0)
        for k in inner
        if sign * z_K[k] > sign * max(z_K[[0, -1]], key=lambda z: sign * z)
    ]
    p, t, sign, k = min(found, default=(1.0, 0.0, 1.0, 0))
    p = min(1.0, 2 * len(inner) * p)
    if p >= level:
        return None
    direction = "better" if sign > 0 else "worse"
    return Verdict(
        U_SHAPED,
        points.n_scales,
        f"t-test of the scale at {format_compute(float(points.scale_x[k]))}, {direction} than both ends, t =",
        t,
        p,
        "a monotone trend",
        would_change="enough scales beyond the turn to be judged on their own: at least 4, without those before it",
    )


def _weaker(z_K: np.ndarray, variance_K: np.ndarray, dof_K: np.ndarray, k: int) -> tuple[float, float]:
    """(p, t) of the weaker of two one-sided tests: scale k above the first and above the last."""
    found = []
    for end in (0, -1):
        pair = [k, end]
        t = float(z_K[k] - z_K[end]) / math.sqrt(max(float(variance_K[pair].sum()), 1e-300))
        found.append((upper_tail(t, _welch(variance_K[pair], dof_K[pair])), t))
    return max(found)


def _welch(variance_2: np.ndarray, dof_2: np.ndarray) -> float:
    """Degrees of freedom of a difference of two means (Satterthwaite 1946)."""
    total = float(variance_2.sum())
    return total**2 / float(np.sum(variance_2**2 / dof_2)) if total > 0 else float(dof_2.min())


def _broken(points: Points, made: Break) -> Verdict:
    more = max(SCALES - made.after, 1)
    return Verdict(
        BROKEN,
        points.n_scales,
        f"one break (near {format_compute(made.at)}) against none, ratio of squares",
        made.ratio,
        made.p,
        "no break: redrawn from the fitted law",
        would_change=f"{more} more scale{'s' * (more > 1)} beyond the break, and a fit to those alone",
    )


def _alone(points: Points) -> bool:
    """Single runs without declared errors."""
    return points.n_units - points.n_scales < REPLICATES and not np.all(np.isfinite(points.se))


def _unseen(points: Points) -> bool:
    """Of a share nobody can say at so few scales whether it breaks or goes from a guessing rate to a ceiling."""
    may = any(on.sigmoid for on in transforms(points.subject.metric, points.value))
    return may and points.n_scales <= FEWEST - (points.n_units - points.n_scales >= REPLICATES)


def _level(points: Points) -> float:
    """Chance below which a break is one."""
    return LEVEL_ALONE if _alone(points) else LEVEL


def _break(points: Points, on: Transform) -> Break | None:
    """The test of a break on the scale of `on`."""
    m_n = on.forward(points.value)
    z_n = np.log(m_n) if on.relative else m_n
    sd_K = drawn_SK = None
    inside = 0.0
    inside_n = z_n - points.means(z_n)[points.scale]
    if points.n_units - points.n_scales >= REPLICATES and np.max(np.abs(inside_n)) > 1e-9 * np.max(np.abs(z_n)):
        drawn_SK = drawn(points, z_n, DRAWS)
        sd_K = 1 / np.sqrt(np.mean(drawn_SK**-2, axis=0))
        inside = float(np.sum(points.share * (inside_n / sd_K[points.scale]) ** 2))
    elif np.all(np.isfinite(points.se)):
        declared_n = points.se * np.abs(on.slope(points.value)) / (m_n if on.relative else 1.0)
        sd_K = np.sqrt(points.means(declared_n**2))
    z_K = points.means(z_n)
    return break_test(
        points.scale_x,
        np.exp(z_K) if on.relative else z_K,
        np.bincount(points.scale, points.share),
        relative=on.relative,
        bounded=on.bounded,
        line=on.line,
        sigmoid=on.sigmoid,
        size=on.size,
        sd_K=sd_K,
        drawn_SK=drawn_SK,
        inside=inside,
    )


def _transformed(points: Points, found: Verdict, broken: tuple[Transform, Break] | None = None) -> Verdict:
    """The verdict, or that on another scale there is a trend towards better without a break; of a law that is `broken`
    on its own scale, one that mends it."""
    tried = transforms(points.subject.metric, points.value)
    for on in tried:
        z_n = on.sign * on.forward(points.value)
        seen = _trend(points, z_n, points.se * np.abs(on.slope(points.value)), LEVEL / len(tried))
        if seen.name != PREDICTABLE:
            continue
        made = _break(points, on)
        level = _level(points)
        if broken and (made is None or made.p < 2 * level or not _mends(points, *broken, on, made)):
            continue
        if made is None or made.p >= level:
            change = f"runs that bend away from {on.says}; until then forecast it there (law {on.law})"
            return replace(seen, name=TRANSFORMED, transform=on.name, would_change=change)
    return found


def _mends(points: Points, on: Transform, broken: Break, other: Transform, made: Break) -> bool:
    """The law on another scale leaves less than half way (of the log) from what the law on the metric's own leaves to
    what is left with a break: a break that is only not seen on the other scale is still one. Replicates see it."""
    if points.n_units - points.n_scales >= REPLICATES:
        return True
    value_K = points.means(points.value)
    share_K = np.bincount(points.scale, points.share) / (value_K**2 if on.relative else 1.0)
    old, new = (float(share_K @ (at.left_K / scale.slope(value_K)) ** 2) for scale, at in ((on, broken), (other, made)))
    return new < old / math.sqrt(broken.ratio)
