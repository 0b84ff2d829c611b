"""One run's trajectory, foretold to its own end: several saturating laws averaged.

    sigmoid       R_0 + (A - R_0) / (1 + (C_mid / C)^B)              (ScaleRL, Khatri et al. 2025)
    exponential   A - (A - R_0) exp(-r C)
    shifted       A - (A - R_0) (1 + C / C_s)^-alpha                 a late power law, finite at the start

each with a misfit process for how it is wrong and with autocorrelated noise (correlated.py), sampled by sequential
Monte Carlo (sampling.py) under the prior of rl_members.py, and weighed by a power of its evidence as in averaging.py.

Before the inflection the laws extrapolate a curvature that the rows hardly show. P being the share of the posterior
whose midpoint lies behind the last row, 1 - P / told of the draws are what may yet come (rl_members.to_come), and where
there are such the status is NOT_IDENTIFIED: the rows do not tell the end.

What is honest about an asymptote: before the midpoint the laws give it away to the prior, which is all of the range. It
is CONVERGED only where the run has moved in rows enough, has passed the midpoint in all but a twentieth of the draws
and the 90 % interval is narrower than .15 of the range; else NOT_IDENTIFIED, with the estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fits.averaging import DRAWS, HEAVY, apportion, weights_of
from fits.correlated import RHOS, Correlated
from fits.rl_members import LAWS, SETTING, Draws, RunMember, Setting, to_come
from fits.sampling import Sample, sample
from fits.trajectories import Source, trajectory
from scaling.errors import InputError
from scaling.fitted import FitStatus
from scaling.laws import Law
from scaling.trajectories import TAIL, Quantity, RunForecast, Trajectory

PARTICLES, MOVES = 1024, 5
FEW = 8  # rows, counted as independent ones
KNOWN = 0.15  # of the range: an asymptote whose 90 % interval is wider is not known
PASSED = 0.95  # share of draws whose midpoint lies behind the last row


@dataclass(frozen=True)
class RunAverage:
    """Posterior of every law on one trajectory, and the weight of each."""

    rows: Correlated
    members: tuple[RunMember, ...]
    samples: tuple[Sample, ...]
    weights: tuple[float, ...]
    seed: int = 0
    count: int = DRAWS

    @property
    def trajectory(self) -> Trajectory:
        return self.rows.rows

    def draws(self, x_G: np.ndarray) -> Draws:
        """As RunMember.draws, of all laws by their weights; a share `untold` of them is what may come for all that the
        rows say."""
        if not self.untold:
            return self._posterior(np.asarray(x_G, float))
        rows = self.trajectory
        found = self._posterior(np.append(rows.last, x_G))
        now_S, found["level"] = found["level"][:, 0], found["level"][:, 1:]
        rng = np.random.default_rng([self.seed, 3])
        other = rng.random(self.count) < self.untold
        after = x_G > rows.last
        for name, values in to_come(self.members[0].setting, now_S[other], x_G, rows, rng).items():
            found[name][other] = np.where(after, values, found[name][other]) if name == "level" else values
        return found

    def _posterior(self, x_G: np.ndarray) -> Draws:
        rng = np.random.default_rng([self.seed, 1])
        found = []
        for member, drawn, k in zip(self.members, self.samples, apportion(self.weights, self.count), strict=True):
            chosen = drawn.u_SD[rng.choice(len(drawn.u_SD), k, replace=k > len(drawn.u_SD))]
            found.append(member.draws(chosen, x_G, rng))
        return {name: np.concatenate([f[name] for f in found]) for name in found[0]}

    def parameters(self, law: str) -> Draws:
        """Posterior draws of one law's parameters: start, asymptote, place, steepness or exponent."""
        at = [m.law.name for m in self.members].index(law)
        return self.members[at].parameters(self.samples[at].u_SD)

    @cached_property
    def passed(self) -> float:
        """Share of the posterior whose midpoint lies behind the last row."""
        each = zip(self.members, self.samples, self.weights, strict=True)
        return float(sum(w * np.mean(m.parameters(s.u_SD)["place"] <= self.trajectory.last) for m, s, w in each))

    @property
    def untold(self) -> float:
        """Share of the draws that no row tells: 1 where every midpoint lies ahead, 0 from `told` of them behind on."""
        told = self.members[0].setting.told
        return max(0.0, 1 - self.passed / told) if told else 0.0

    @cached_property
    def poor(self) -> tuple[str, ...]:
        """Laws that count and whose draws are few."""
        each = zip(self.members, self.samples, self.weights, strict=True)
        return tuple(m.law.name for m, s, w in each if w > HEAVY and s.poor)

    def forecast(self, end: float | None = None) -> RunForecast:
        """The run's own end (default: where its source plans it). Raises InputError where the end lies behind."""
        rows = self.trajectory
        end = _end(rows, end)
        middle = max(rows.last, (1 - TAIL / 2) * end)  # of the rows that make the end
        drawn = self.draws(np.array([rows.last, end, middle]))
        now, then, late = drawn["level"].T
        final = np.clip(late + drawn["end_noise"], rows.low, rows.high)
        rho = Quantity.of(drawn["rho"])
        effective = float(np.mean([self.rows.at[RHOS.index(r)].effective for r in drawn["rho"]]))
        asymptote = Quantity.of(drawn["asymptote"])
        low, high = asymptote.interval()
        status, share = self._status(effective), min(1.0, float(np.var(late) / np.var(self._prior(middle))))
        told = status not in (FitStatus.NOT_IDENTIFIED, FitStatus.TOO_FEW_POINTS)
        known = told and self.passed >= PASSED and high - low <= KNOWN * (rows.high - rows.low)
        return RunForecast(
            rows.metric, rows.axis, rows.low, rows.high, rows.last, end, len(rows), effective, rho,
            Quantity.of(drawn["sigma"]), Quantity.of(now), Quantity.of(final), Quantity.of(then - now), asymptote,
            Quantity.of(drawn["midpoint"]), FitStatus.CONVERGED if known else FitStatus.NOT_IDENTIFIED,
            status, share, {m.law.name: w for m, w in zip(self.members, self.weights, strict=True)}, rows.notes,
            self.untold,
        )  # fmt: skip

    def _prior(self, x: float) -> np.ndarray:
        """Draws of the level at x as if there were no row."""
        rng = np.random.default_rng([self.seed, 2])
        counts = apportion(weights_of(self.samples, [m.odds for m in self.members], 0.0), self.count)
        return np.concatenate([m.prior(x, k, rng) for m, k in zip(self.members, counts, strict=True)])

    def _status(self, effective: float) -> FitStatus:
        """TOO_FEW_POINTS; NOT_IDENTIFIED: the rise may well not have begun; DIVERGED: the draws are few."""
        if len(self.trajectory) < FEW:
            return FitStatus.TOO_FEW_POINTS
        if not moved(self.trajectory):
            return FitStatus.NOT_IDENTIFIED
        if effective < FEW:
            return FitStatus.TOO_FEW_POINTS
        if self.untold:
            return FitStatus.NOT_IDENTIFIED
        return FitStatus.DIVERGED if self.poor else FitStatus.CONVERGED


def moved(rows: Trajectory) -> bool:
    """Do the first and the last third differ by more than three standard errors of their means (each third's scatter
    counted with its lag-1 autocorrelation)?"""
    first, *_, last = np.array_split(rows.y_n, 3)
    error = np.hypot(_mean_error(first), _mean_error(last))
    return bool(abs(last.mean() - first.mean()) > 3 * error)


def _mean_error(y_n: np.ndarray) -> float:
    """Of the mean of a third, from what is left around a running mean: a rise is no noise."""
    wide = max(5, len(y_n) // 3) | 1
    if len(y_n) < 2 * wide:
        rest = y_n - y_n.mean()
    else:
        rest = y_n[wide // 2 : -(wide // 2)] - np.convolve(y_n, np.full(wide, 1 / wide), "valid")
    power = float(rest @ rest)
    if len(rest) < 2 or power == 0:
        return 0.0
    rho = min(max(float(rest[1:] @ rest[:-1]) / power, 0.0), 0.9)
    return float(np.sqrt(power / (len(rest) - 1) / len(y_n) * (1 + rho) / (1 - rho)))


def _end(rows: Trajectory, end: float | None) -> float:
    found = rows.planned if end is None else float(end)
    if found is None:
        raise InputError(f"{rows.source or 'this log'} does not say where the run ends", "give the end: end=1000")
    if not np.isfinite(found) or found < rows.last:
        raise InputError(
            f"the end, {rows.axis} {found:,.6g}, lies behind the last row at {rows.last:,.6g}", "ask for a later end"
        )
    return found


def rl_average(
    source: Source,
    laws: Sequence[Law] = LAWS,
    *,
    start: float | None = None,
    setting: Setting = SETTING,
    seed: int = 0,
    particles: int = PARTICLES,
    moves: int = MOVES,
    draws: int = DRAWS,
    **reading: Any,
) -> RunAverage:
    """Sample every law on one run's trajectory and weigh them. `start`: R_0, where it was measured before RL;
    `reading`: options of fits.trajectory.

        >>> found = fits.rl_average("forecast/runs/3f9c0a1b-s1")
        >>> print(found.forecast(end=1000))
    """
    rows = trajectory(source, **reading)
    if start is not None and not rows.low <= start <= rows.high:
        raise InputError(f"a start of {start:g} is outside {rows.low:g} .. {rows.high:g}", "is it in percent?")
    on = Correlated(rows)
    members = tuple(RunMember(law, on, setting, start) for law in laws)
    samples = tuple(
        sample(
            m.log_likelihood, m.dimensions, np.random.default_rng([seed, 0, k]), particles=particles, moves=moves,
            jumps=True,
        )
        for k, m in enumerate(members)
    )  # fmt: skip
    weights = weights_of(samples, [m.odds for m in members], setting.trust)
    return RunAverage(on, members, samples, weights, seed, draws)


def watch(log: Source, end: float | None = None, **options: Any) -> RunForecast:
    """The forecast of a run's own end from its log so far. `log`: a list of rows, a path, or a trial's folder; options
    as those of `rl_average` and `trajectory`.

        >>> print(fits.watch(trainer.state.log_history, end=trainer.state.max_steps))
        step 120 of 1,000: reward 0.41 ± 0.01 now; at the end 0.58 [0.49, 0.66] 90 %; ...
    """
    return rl_average(log, **options).forecast(end)
