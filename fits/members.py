"""One curve, and one law on it as a member of an average (averaging.py): prior, likelihood and draws.

On the linked value m (loss: m = value; pass rate: m = -log value) every law is E + A h(C; shape). With the fitting
scale z (objectives.py), C_n the largest fitted compute and m_n the linked value there:

    E = m_n max(0, (Phi(u_1) - p) / (1 - p))   floor: none with probability p, else anything up to m_n
    A h(C_n) = (m_n - E) exp(s_A u_2)          what is left above it there
    shape                                      one or more u each, by role: SHAPES; `exponent` is the steepness far out
    sigma, a                                   noise of a run and size of the misfit (misfit.py), log-normal

with u ~ N(0, I): that is the prior. A break may lie beyond the data, and what is before it has the exponent / e^t with
t = T tanh(s_t sinh(TAIL u) / T): mostly a mild turn, now and then a plateau, e^T = 20 at most. The noise of one more
run shrinks with the excess over the floor as in noise.py: sigma (h / h_data)^DECAY, h = |dz / d log A|.
Source: Kennedy and O'Hagan (2001) for the misfit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from fits.estimate import optimum
from fits.means import Means, MeansMember, floor_share, log_normal
from fits.noise import DECAY, MOST, REPLICATES
from fits.objectives import backward, default_objective, forward, slope
from fits.points import Points
from fits.priors import LADDER as LADDER_PRIOR
from scaling.laws import BROKEN, ONSET, PASS_RATE, POWER, Law
from scaling.metrics import metric as metric_named

TAIL, STEEPEST = 1.2, np.log(20.0)  # TAIL and T above


@dataclass(frozen=True)
class Setting:
    """Numbers of the prior. Log-normal (centre, spread) unless a line says otherwise. What was tried: docs/log.md."""

    exponent: tuple[float, float] = (0.5, 0.8)
    no_floor: float = 0.2  # p
    level: float = 0.5  # s_A
    onset: tuple[float, float] = (-0.7, 0.7)  # log C_on ~ log C_n + span N(centre, spread)
    onset_width: tuple[float, float] = (1.0, 0.5)
    ahead: float = 4.0  # e-folds beyond the data where a break may still lie; uniform from the first point on
    turn: float = 0.5  # s_t
    width: tuple[float, float] = (0.5, 0.7)  # of a break, e-folds
    noise: tuple[float, float] = (0.005, 2.0)
    known_noise: float = 0.5  # spread of log sigma where declared errors are all the noise
    misfit: tuple[float, float] = (0.01, 1.0)
    odds: Mapping[str, float] = field(default_factory=lambda: {"power": 4.0, "onset": 1.0, "broken": 2.0})
    trust: float = 0.5  # power of the evidence


SETTING = Setting()
# For ladders that this package trained itself: the exponent's prior of their fits; a plain power law is more likely, as
# their smallest rung lies above the onset (sweeps/recipes.py); and there is a floor, as their prompts are random.
LADDER = replace(
    SETTING,
    exponent=(LADDER_PRIOR.exponent, LADDER_PRIOR.exponent_spread),
    no_floor=0.0,
    odds={"power": 4.0, "onset": 0.5, "broken": 1.0},
)
LAWS: tuple[Law, ...] = (POWER, ONSET, BROKEN)
SHAPES = {
    "power": ("exponent",),
    "onset": ("exponent", "onset", "width"),
    "broken": ("exponent", "break_at", "change", "width"),
}


@dataclass(frozen=True, kw_only=True)
class Curve(Means):
    """One point per compute scale."""

    x_K: np.ndarray

    @property
    def at_KI(self) -> np.ndarray:
        return np.log(self.x_K)[:, None]

    def to_m(self, z: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            value = backward(self.scale, z)
            return -np.log(np.maximum(value, 1e-300)) if self.link == "neg_log" else value

    def slope(self, m: np.ndarray) -> np.ndarray:
        """|dz / dm|."""
        with np.errstate(all="ignore"):
            value = np.exp(-m) if self.link == "neg_log" else m
            return np.abs(slope(self.scale, value)) * (value if self.link == "neg_log" else 1.0)

    @cached_property
    def origin(self) -> float:
        """The lowest floor: 0; of a metric that falls below 0, two spans of the data below the best value."""
        m_K = self.to_m(self.z_K)
        return 0.0 if self.link == "neg_log" or np.min(m_K) > 0 else float(np.min(m_K) - 2 * (np.ptp(m_K) or 1.0))

    @cached_property
    def last(self) -> float:
        """m_n: the linked value at the largest compute, from a straight line through the last three means. Where that
        is beyond the metric's range (rates near 1) their mean, and else the smallest value of the data above it."""
        log_x, z_3 = np.log(self.x_K[-3:]), self.z_K[-3:]
        at = log_x - log_x.mean()
        rate = float(at @ z_3 / (at @ at)) if len(z_3) > 1 else 0.0
        m_K = self.to_m(self.z_K)
        tried = [*self.to_m(np.array([z_3.mean() + rate * at[-1], z_3.mean()])), *np.sort(m_K), 1e-3 + self.origin]
        return float(next(m for m in tried if m > self.origin))


def curve_of(points: Points) -> Curve:
    """Points of one question as a curve of scale means."""
    metric = metric_named(points.subject.metric)
    scale = default_objective(points.value)[0].scale
    link = "neg_log" if metric.better == "higher" else "identity"
    z = forward(scale, points.value)
    declared = points.se * np.abs(slope(scale, points.value))
    curve = Curve(
        subject=points.subject,
        link=link,
        scale=scale,
        x_K=points.scale_x,
        z_K=points.means(z),
        shape_K=1 / np.sqrt(np.bincount(points.scale, points.share)),
    )
    if np.all(declared > 0):
        run = optimum(PASS_RATE if link == "neg_log" else POWER, points)[0].noise.run
        precision_K = np.bincount(points.scale, points.share / (declared**2 + run**2))
        typical = float(np.median(declared))
        total = float(np.hypot(typical, run))
        return replace(curve, shape_K=1 / np.sqrt(precision_K), one_run=total, evaluation=(typical / total) ** 2)
    inside = z - curve.z_K[points.scale]
    dof = points.n_units - points.n_scales
    return replace(curve, within=(float(np.sum(points.share * inside**2)), dof)) if dof >= REPLICATES else curve


class Member(MeansMember):
    """One law on one curve."""

    def __init__(self, law: Law, curve: Curve, setting: Setting) -> None:
        self.law, self.means, self.curve, self.setting = law, curve, curve, setting
        self.roles = SHAPES[law.name]
        self.dimensions = len(self.roles) + 4
        self.log_x = np.log(curve.x_K)

    @property
    def span(self) -> float:
        return float(self.log_x[-1] - self.log_x[0])

    def shapes(self, u_SD: np.ndarray) -> dict[str, np.ndarray]:
        """The law's parameters but floor and scale, (S,) each; places in units of C_0 = C_n."""
        s, u = self.setting, dict(zip(self.roles, u_SD.T, strict=False))
        found = {"exponent": log_normal(s.exponent, u["exponent"])}
        if "onset" in u:
            found["onset"] = np.exp(self.span * (s.onset[0] + s.onset[1] * u["onset"]))
            found["width"] = log_normal(s.onset_width, u["width"])
        if "break_at" in u:
            found["break_at"] = np.exp((self.span + s.ahead) * ndtr(u["break_at"]) - self.span)
            after = found["exponent"]
            turn = STEEPEST * np.tanh(s.turn * np.sinh(TAIL * u["change"]) / STEEPEST)
            found["exponent"] = after * np.exp(-turn)
            found["change"] = after - found["exponent"]
            found["width"] = log_normal(s.width, u["width"])
        return found

    def linear(self, u_SD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(E, excess over it at the largest compute), (S,) each."""
        at = len(self.roles)
        origin, last = self.curve.origin, self.curve.last
        floor = origin + (last - origin) * floor_share(u_SD[:, at], self.setting.no_floor)
        return floor, (last - floor) * np.exp(self.setting.level * u_SD[:, at + 1])

    def hyper(self, u_SD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(a, sigma), (S,) each, on the fitting scale."""
        s, unit = self.setting, self.curve.unit
        if (known := self.curve.evaluation) is None:
            sigma = unit * s.noise[0], s.noise[1]
        else:  # what one law left over may be its misfit: only what is declared is known
            sigma = 1.0, s.known_noise * known + s.noise[1] * (1 - known)
        return log_normal((unit * s.misfit[0], s.misfit[1]), u_SD[:, -2]), log_normal(sigma, u_SD[:, -1])

    def excess(self, u_SD: np.ndarray, x: np.ndarray) -> np.ndarray:
        """A h(x), (S, n)."""
        return self._excess(u_SD, x, self.linear(u_SD)[1])

    def _excess(self, u_SD: np.ndarray, x: np.ndarray, above_S: np.ndarray) -> np.ndarray:
        shapes = self.shapes(u_SD)
        columns = {"floor": np.zeros(len(u_SD)), "scale": np.ones(len(u_SD)), **shapes}
        theta_SP = np.column_stack([columns[name] for name in self.law.names])
        reference = {str(i.reference): float(self.curve.x_K[-1]) for i in self.law.inputs if i.reference is not None}
        grid = np.append(x, self.curve.x_K[-1])
        h_Sn = self.law.value(theta_SP, **{str(self.law.inputs[0].symbol): grid}, **reference)
        with np.errstate(all="ignore"):  # a shape beyond the range of numbers is ruled out by its likelihood
            return above_S[:, None] * h_Sn[:, :-1] / h_Sn[:, -1:]

    def mean(self, u_SD: np.ndarray, x: np.ndarray) -> np.ndarray:
        """z of the law, (S, n)."""
        floor_S, above_S = self.linear(u_SD)
        return self.curve.to_z(floor_S[:, None] + self._excess(u_SD, x, above_S))

    def fitted(self, u_SD: np.ndarray) -> np.ndarray:
        return self.mean(u_SD, self.curve.x_K)

    def draws(self, u_SD: np.ndarray, x_G: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Parts of z at x_G, (S, G) each: `law`, `misfit`, and `run`, the noise of one more run."""
        normal = rng.standard_normal((2, len(u_SD)))
        wander = self.misfit(u_SD, np.log(x_G)[:, None], normal[0])
        run = (self.curve.one_run * self.hyper(u_SD)[1] * normal[1])[:, None] * self.decay(u_SD, x_G)
        return {"law": self.mean(u_SD, x_G), "misfit": wander, "run": run}

    def decay(self, u_SD: np.ndarray, x_G: np.ndarray) -> np.ndarray:
        """(h / h_data)^DECAY, (S, G): how the noise of a run shrinks; h_data is the geometric mean over the scales."""
        floor = self.linear(u_SD)[0][:, None]

        def log_h(x: np.ndarray) -> np.ndarray:
            excess = self.excess(u_SD, x)
            return np.log(excess * self.curve.slope(floor + excess))

        with np.errstate(all="ignore"):
            log_g = log_h(x_G) - log_h(self.curve.x_K).mean(axis=1, keepdims=True)
        return np.exp(DECAY * np.clip(np.nan_to_num(log_g, posinf=0.0, neginf=0.0), -np.log(MOST), np.log(MOST)))
