"""Parts of a forecast's variance, from its own draws: sources are switched on one after the other.

    z_0 .. z_n    draws at the target on the fitting scale, z_i with the sources up to i; paired, so that draw s of z_i
                  and of z_(i-1) differ by source i alone
    part i        var(z_i - z_(i-1)),  z_(-1) = 0

Every z is that of a value inside the metric's range (`bounded`): what a source does beyond it is no uncertainty.
The increments are independent where sources add up, and uncorrelated where each has mean 0 given what came before it:
then the parts sum to var(z_n), which is the law of total variance. Differences of variances would say the same, with
the sampling error of the largest part in every small one.

    mixture       draws of members k in shares w_k, centred at m_k: every part is sum w_k part_k, and
                  "law form" adds sum w_k (m_k - m)^2, m = sum w_k m_k

`variance`: scaling/parts.py says which, and why.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from fits.objectives import Scale, backward, forward, slope
from fits.uncertainty import components, scale_of
from scaling.fitted import Fit
from scaling.metrics import metric as metric_named
from scaling.parts import SOURCES, half_width

Parts = dict[str, float]


def variance(z_S: np.ndarray) -> float:
    return half_width(z_S) ** 2


def bounded(scale: Scale, metric: str, z: np.ndarray) -> np.ndarray:
    """z of the value clipped to the metric's range."""
    return forward(scale, metric_named(metric).clip(backward(scale, z)))


def added(steps: Iterable[tuple[str, np.ndarray]]) -> Parts:
    """Parts from (source, z_S with it and all before it) in order. A source that stands twice is summed."""
    found: Parts = {}
    before: np.ndarray | float = 0.0
    for source, z_S in steps:
        with np.errstate(invalid="ignore"):  # draws at infinity have no increment, and do not count
            found[source] = found.get(source, 0.0) + variance(z_S - before)
        before = z_S
    return found


def mixed(members: Sequence[Mapping[str, float]], centres: Sequence[float], weights: Sequence[float]) -> Parts:
    """Parts of a mixture. `centres`: medians of the members' z. A source that no member knows is not known here; what
    one member cannot tell apart stays in the part where it has it."""
    w_K = np.asarray(weights, float) / np.sum(weights)
    m_K = np.asarray(centres, float)
    found = {
        source: float(sum(w * parts.get(source, 0.0) for w, parts in zip(w_K, members, strict=True)))
        for source in SOURCES
        if any(source in parts for parts in members)
    }
    found["law form"] = found.get("law form", 0.0) + float(w_K @ (m_K - w_K @ m_K) ** 2)
    return found


def told_apart(run: float, share: float | None) -> Parts:
    """The variance of one measured run as seed and evaluation; one whose evaluation error is not known is all seed."""
    return {"seed": run} if share is None else {"seed": run * (1 - share), "evaluation": run * share}


def evaluation_share(fit: Fit) -> float | None:
    """Share of the variance of a run around the law that its measurement's own sampling error makes up; None where the
    data declare none. The scatter of replicates contains it: what is left of that is the seed's."""
    value = np.asarray(fit.points["value"], float)
    se = np.array([np.nan if s is None else s for s in fit.points["se"]], float)
    declared = (se * slope(scale_of(fit), value))[np.isfinite(se) & (se > 0)]
    if not len(declared) or not fit.noise > 0:
        return None
    return min(1.0, float(np.median(declared)) ** 2 / fit.noise**2)


def parts_of(fit: Fit, target: float) -> Parts:
    """Of one law: parameters, its misfit (where replicates show one), seed, and evaluation where it is known. The law's
    form is taken as given: "law form" is not known."""
    law_SG, misfit_S, run_SG = components(fit, np.array([target]))
    law, mean, one = (
        bounded(scale_of(fit), fit.subject.metric, z)
        for z in (law_SG[:, 0], law_SG[:, 0] + misfit_S, law_SG[:, 0] + misfit_S + run_SG[:, 0])
    )
    found = added([("parameters", law), ("misfit", mean), ("seed", one)])
    if not fit.misfit:
        del found["misfit"]
    return {**found, **told_apart(found["seed"], evaluation_share(fit))}
