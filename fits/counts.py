"""Forecasts of pass rates from the counts themselves, not from means of runs: the law of pass_law.py on every problem.

    p_i(C) = exp(-exp(u_i) g(C) e^noise)      for the problems that were counted: they are what will be measured
    pass_rate       mean_i c_i / n            c_i ~ Binomial(n, p_i), beta-binomial where the counts are overdispersed
    neg_log_pass    mean_i (H_n - H_c_i)      as it is measured with n samples: bounded by H_n, whatever is never solved

Draws of all likelihoods that take part stand side by side in the shares of their weights. Shapes: S draws, G places.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from fits.count_cells import Counts, cell
from fits.difficulty import Difficulty, Kind, choose_rho, fit_difficulty, fit_mixing
from fits.objectives import Scale
from fits.parts import Parts, added
from fits.pass_checks import contradiction
from fits.pass_law import FLOOR_PRIOR, FLOORS, LawDraws, LawPosterior, draw_law, law_posterior
from fits.points import Points, final_rows
from fits.predictive import Levels, Predictive
from scaling.errors import InputError
from scaling.fitted import FitStatus, Subject
from scaling.metrics import metric as metric_named
from scaling.observations import Observations
from scaling.pass_rates import CONTRADICTED, LIKELIHOODS, PassLaw, bends
from scaling.records import digest, sha256

KINDS: Mapping[str, Kind] = {"hierarchical": "lognormal", "mixture": "free", "beta-binomial": "one", "binomial": "one"}
FOLDS = 5
RATES = 240  # points of the table p -> what is measured
SHIFT = 0.04  # of u and log g, apart, at which means over the problems are tabulated
Runs = tuple[tuple[str, float], ...]
Mixings = tuple[tuple[str, Difficulty, float], ...]  # likelihood, fit, log likelihood of unseen problems


@dataclass(frozen=True)
class CountTable:
    """The counts of one question's runs, in the order of `keys`: (trial, x)."""

    counts: Counts
    keys: Runs

    def at(self, known: Points) -> CountTable:
        """Those of the runs that some points are of."""
        wanted = set(zip(known.trial, known.x.tolist(), strict=True))
        keep = np.array([key in wanted for key in self.keys], bool)
        return CountTable(self.counts.at(keep), tuple(k for k, kept in zip(self.keys, keep, strict=True) if kept))


def count_table(observations: Observations) -> CountTable | None:
    """The counts behind ONE question's finished runs; None where a row has none (or exact probabilities instead)."""
    metric = observations.one_metric()[0]
    if observations.problems is None or metric not in ("pass_rate", "neg_log_pass"):
        return None
    table = final_rows(observations)
    frame, problems = table.frame.sort_values([table.axis, "trial"], kind="stable"), table.problems
    if problems is None or "c" not in problems or "n" not in problems:
        return None
    if problems[["n", "c"]].isna().any(axis=None) or not set(frame["id"]) <= set(problems["observation"]):
        return None
    if "p" in problems and problems["p"].notna().any():  # exact: better than any count
        return None
    if problems.duplicated(["observation", "problem"]).any():
        return None
    wide = {name: problems.pivot(index="observation", columns="problem", values=name) for name in ("n", "c")}
    n, c = (pd.DataFrame(wide[name].loc[frame["id"]]).fillna(0).to_numpy(float) for name in ("n", "c"))
    x = frame[table.axis].to_numpy(float)
    keys = tuple(zip(frame["trial"].astype(str), x.tolist(), strict=True))
    return CountTable(Counts(x, n, c), keys)


@dataclass(frozen=True)
class Member:
    name: str
    law: LawPosterior
    weight: float
    held_out: float


@dataclass(frozen=True)
class PassFit:
    """The law fitted to counts, with draws. `summary` says all that it found."""

    members: tuple[Member, ...]
    draws: LawDraws
    likelihood: str
    floor: bool | None

    @property
    def counts(self) -> Counts:
        return self.members[0].law.found.counts

    @cached_property
    def main(self) -> Member:
        return max(self.members, key=lambda m: m.weight)

    @cached_property
    def contradiction(self) -> float | None:
        """p-value of the form of difficulty on its own counts; None where a free one takes part."""
        return contradiction(self.main.law.found) if len(self.members) == 1 else None

    @cached_property
    def summary(self) -> PassLaw:
        """The exponent's error says where the members disagree about it."""
        weight_K = np.array([m.weight for m in self.members])
        pairs = np.array([m.law.exponent() for m in self.members])
        mean = float(weight_K @ pairs[:, 0])
        sd = math.sqrt(float(weight_K @ (pairs[:, 1] ** 2 + (pairs[:, 0] - mean) ** 2)))
        main, counts, p = self.main.law, self.counts, self.contradiction
        floor = float(weight_K @ [m.law.floor for m in self.members])
        wrong = (p is not None and p <= CONTRADICTED) or bends(main.lack_of_fit, floor)
        open_ = main.status == FitStatus.CONVERGED and (abs(mean) < 2 * sd or wrong)
        return PassLaw(
            likelihood=self.likelihood,
            exponent=mean,
            exponent_se=sd,
            status=FitStatus.NOT_IDENTIFIED if open_ else main.status,
            weights={m.name: m.weight for m in self.members},
            held_out={m.name: m.held_out for m in self.members},
            overdispersion=main.found.rho,
            floor=floor,
            lack_of_fit=main.lack_of_fit,
            contradiction=p,
            runs=counts.runs,
            problems=counts.problems,
            never_solved=counts.never_solved,
        )

    def pass_rates(self, x: float) -> np.ndarray:
        """Draws (S,) of E[pass] over the counted problems at compute x, without any run's own chance."""
        log_A_SI = self.draws.u_SI + self.draws.log_g(np.array([x]))
        return np.exp(-np.exp(np.minimum(log_A_SI, 20.0))).mean(1)


def fit_passes(
    counts: Counts, likelihood: str = "auto", *, floor: bool | None = None, seed: int = 0, draws: int = 1000
) -> PassFit:
    """Fit -log p_i = alpha_i g(C) to counts of the same problems at several amounts of compute.

    likelihood   "hierarchical", "mixture", "binomial", "beta-binomial", or "auto": the first two, in the shares that
                 their likelihood of unseen problems (5 folds) gives them
    floor        None: with and without one, averaged; False: GPT-4's law; True: with one
    """
    return pass_fit(mixings(counts, likelihood), likelihood, floor=floor, seed=seed, draws=draws)


def mixings(counts: Counts, likelihood: str = "auto") -> Mixings:
    """The fits of difficulty that a likelihood asks for, with their scores; the form of the law comes later."""
    if likelihood not in LIKELIHOODS or likelihood == "means":
        known = ", ".join(name for name in LIKELIHOODS if name != "means")
        raise InputError(f"likelihood {likelihood!r} is not known", f"one of {known}")
    names = ("hierarchical", "mixture") if likelihood == "auto" else (likelihood,)
    found: list[tuple[str, Difficulty, float]] = []
    for name in names:
        one = _fitted(counts, name, found[0][1] if found else None)
        found.append((name, one, float(_held_out(one).sum()) if len(names) > 1 else 0.0))
    return tuple(found)


def pass_fit(found: Mixings, likelihood: str, *, floor: bool | None, seed: int, draws: int) -> PassFit:
    names, fits, scores = zip(*found, strict=True)
    laws = [law_posterior(one, floor) for one in fits]
    weight_K = np.exp(np.array(scores) - max(scores))
    weight_K /= weight_K.sum()
    rng, last = np.random.default_rng(seed), round(float(weight_K[-1]) * draws)
    sizes = [draws - last, last] if len(laws) > 1 else [draws]
    drawn = [draw_law(law, size, rng) for law, size in zip(laws, sizes, strict=True) if size]
    joined = drawn[0] if len(drawn) == 1 else drawn[0].joined(drawn[1])
    problems = fits[0].counts.problems
    rows = zip(names, laws, weight_K, scores, strict=True)
    members = tuple(Member(n, law, float(w), s / problems) for n, law, w, s in rows)
    return PassFit(members, joined, likelihood, floor)


def _fitted(counts: Counts, name: str, start: Difficulty | None) -> Difficulty:
    if name == "binomial":
        return fit_difficulty(counts, "one")
    if start is not None:  # the same cells, another mixing
        return fit_difficulty(counts, KINDS[name], start.rho, start)
    return choose_rho(counts, KINDS[name])


def _held_out(found: Difficulty) -> np.ndarray:
    """Log likelihood (I,) of each problem's counts under the mixing of the problems in other folds."""
    fold_I = np.arange(found.counts.problems) % FOLDS
    out_I = np.empty(len(fold_I))
    for fold in np.unique(fold_I):
        out_I[fold_I == fold] = fit_mixing(found, fold_I != fold, fold_I == fold)
    return out_I


@dataclass(frozen=True)
class FromCounts(Predictive):
    """A PassFit as what foretells one question. Without a floor it bears the name of GPT-4's law."""

    about: Subject
    fit: PassFit
    seed: int = 0
    fewest = 2  # counts carry their own error: it need not be learnt from the scatter of a third scale

    @property
    def subject(self) -> Subject:
        return self.about

    @property
    def scale(self) -> Scale:
        return "absolute"

    @property
    def warnings(self) -> tuple[str, ...]:
        return count_warnings(self.fit, self.subject.metric)

    @property
    def reach(self) -> tuple[float, float]:
        return float(self.fit.counts.x_R.min()), float(self.fit.counts.x_R.max())

    @property
    def name(self) -> str:
        return self.subject.metric if self.fit.floor is False else "counts"

    @property
    def says(self) -> str:
        return str(self.fit.summary)

    @property
    def prior(self) -> str:
        """Of the share phi of the difficulty that no compute removes (pass_law.py)."""
        if self.fit.floor is False:
            return "no floor: phi = 0"
        among = f"phi uniform on {FLOORS[0]:g} .. {FLOORS[-1]:g}"
        return among if self.fit.floor else f"{among}, none (phi = 0) with probability {1 - FLOOR_PRIOR:g}"

    @cached_property
    def digest(self) -> str:
        counts, drawn = self.fit.counts, self.fit.draws
        arrays = (counts.x_R, counts.n_RI, counts.c_RI, drawn.u_SI, drawn.k_S, drawn.phi_S, drawn.sigma_S)
        return digest({"says": self.says, "arrays": [sha256(np.ascontiguousarray(a, "<f8").tobytes()) for a in arrays]})

    def levels(self, grid_G: np.ndarray) -> Levels:
        drawn, rng = self.fit.draws, np.random.default_rng([self.seed, 1])
        log_g_SG = drawn.log_g(grid_G)
        chance_S = drawn.sigma_S * rng.standard_normal(len(drawn.sigma_S))
        z_S = rng.standard_normal(len(drawn.sigma_S))
        law_SG = self._measured(log_g_SG)[0]
        mean_SG, sd_SG = self._measured(log_g_SG + chance_S[:, None])
        run_SG = mean_SG + sd_SG * z_S[:, None]
        clip = metric_named(self.subject.metric).clip
        return clip(law_SG), clip(law_SG), clip(run_SG)

    def parts(self, x: float) -> Parts:
        drawn, rng = self.fit.draws, np.random.default_rng([self.seed, 1])
        chance_S = drawn.sigma_S * rng.standard_normal(len(drawn.sigma_S))
        log_g_S1 = drawn.log_g(np.array([x]))
        law_S = self._measured(log_g_S1)[0][:, 0]
        mean_S, sd_S = (a[:, 0] for a in self._measured(log_g_S1 + chance_S[:, None]))
        one_S = mean_S + sd_S * rng.standard_normal(len(mean_S))
        return added([("parameters", law_S), ("seed", mean_S), ("evaluation", one_S)])

    def _measured(self, log_g_SG: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(mean over the problems of what n samples measure, its sampling error), (S, G) each.

        All problems move together, so the means of a draw at equally spaced shifts are one product of matrices, and
        lines between them serve every place: exact to about SHIFT^2 / 12 of the second derivative."""
        u_B, share_SB = self._spread
        log_A, value, variance = self._table
        log_g_SG = np.clip(log_g_SG, log_A[0] - u_B[-1], log_A[-1] - u_B[0])  # beyond it nothing changes any more
        low = float(log_g_SG.min())
        log_g_J = low + SHIFT * np.arange(int((log_g_SG.max() - low) / SHIFT) + 2)
        at_SG = (log_g_SG - low) / SHIFT
        j_SG = at_SG.astype(int)
        part_SG, row_S1 = at_SG - j_SG, np.arange(len(j_SG))[:, None]

        def mean(table: np.ndarray) -> np.ndarray:
            mean_SJ = share_SB @ np.interp(u_B[:, None] + log_g_J, log_A, table)
            return (1 - part_SG) * mean_SJ[row_S1, j_SG] + part_SG * mean_SJ[row_S1, j_SG + 1]

        return mean(value), np.sqrt(mean(variance) / self.fit.draws.u_SI.shape[1])

    @cached_property
    def _spread(self) -> tuple[np.ndarray, np.ndarray]:
        """(u_B, share_SB): the problems of each draw, shared out between the two nearest of equally spaced u."""
        u_SI = self.fit.draws.u_SI
        low = float(u_SI.min())
        count = int((float(u_SI.max()) - low) / SHIFT) + 2
        share_SB = np.empty((len(u_SI), count))
        for row, u_I in zip(share_SB, u_SI, strict=True):
            at_I = (u_I - low) / SHIFT
            b_I = at_I.astype(int)
            part_I = at_I - b_I
            row[:] = np.bincount(b_I, 1 - part_I, count) + np.bincount(b_I + 1, part_I, count)
        return low + SHIFT * np.arange(count), share_SB / u_SI.shape[1]

    @cached_property
    def _table(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(log -log p, mean, variance) of c / n, or of H_n - H_c, in the usual number of samples of one problem."""
        from scipy.special import gammaln

        counts = self.fit.counts
        n = int(np.median(counts.n_RI[counts.n_RI > 0]))
        rho = self.fit.main.law.found.rho
        log_A = np.linspace(math.log(1e-6), math.log(500.0), RATES)
        c = np.arange(n + 1)
        value_c = c / n
        if self.subject.metric == "neg_log_pass":
            harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, n + 1))])
            value_c = harmonic[n] - harmonic[c]
        choose_c = gammaln(n + 1) - gammaln(c + 1) - gammaln(n - c + 1)
        mass = np.exp(cell(np.full(n + 1, float(n)), c.astype(float), log_A, rho) + choose_c[:, None])
        mass /= mass.sum(0)
        mean = value_c @ mass
        return log_A, mean, np.maximum(value_c**2 @ mass - mean**2, 0.0)


def count_warnings(fit: PassFit, metric: str) -> tuple[str, ...]:
    """What a reader of the forecast has to know."""
    found, said = fit.summary, []
    if metric == "neg_log_pass" and not found.log_pass_identified:
        said.append(
            f"{found.never_solved} of {found.problems} problems were never solved: -E[log p] is not identified; "
            "foretold is what n samples will measure of it, the mean of H_n - H_c"
        )
    if found.contradicted:
        said.append(
            f"the counts contradict the likelihood {found.likelihood} (p = {found.contradiction:.2g}): its numbers are "
            "those of another world; likelihood auto, or mixture, assumes less"
        )
    if found.bent:
        said.append(
            f"the counts bend away from a law without a floor (p = {found.lack_of_fit:.2g}, probability of a floor "
            f"{found.floor:.2f}): its exponent says little"
        )
    return tuple(said)
