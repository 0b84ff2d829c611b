"""What curves (members.py) and surfaces (surfaces.py) share: means of runs at their places, and one law on them.

The linked value m is the value of a loss, -log of a rate; z is the fitting scale (objectives.py). A law on K means is

    z_K = z(m_K) + misfit (misfit.py, size a) + noise (sigma shape_K)

as a function of u (S, D), standard normal under the prior; the last two entries of u are those of a and sigma. Runs of
one place, where there are enough, tell sigma by themselves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from fits.misfit import Misfit
from fits.objectives import Scale, forward
from scaling.fitted import Subject


@dataclass(frozen=True, kw_only=True)
class Means(ABC):
    """One mean z per place and the relative standard deviation of its noise.

    `evaluation`: share of declared errors in the variance of one more run; None where none are declared. Where they
    are, the shape is what they and the scatter of runs beyond them (noise.py, around one law) make of a mean, and sigma
    how far that is off. `within`: sum of squares of runs around their place's mean, and its degrees of freedom."""

    subject: Subject
    link: str
    scale: Scale
    z_K: np.ndarray
    shape_K: np.ndarray
    within: tuple[float, int] = (0.0, 0)
    one_run: float = 1.0  # relative standard deviation of one more run
    evaluation: float | None = None

    @property
    @abstractmethod
    def at_KI(self) -> np.ndarray:
        """The places in logs, (K, I)."""

    @cached_property
    def unit(self) -> float:
        """Size of a relative error of 1 on the fitting scale."""
        return 1.0 if self.scale == "log" else float(np.ptp(self.z_K)) or 1.0

    @cached_property
    def misfit(self) -> Misfit:
        """The misfit process over these places: the same for every law."""
        return Misfit(self.at_KI, self.shape_K)

    def to_z(self, m: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return forward(self.scale, np.exp(-m) if self.link == "neg_log" else m)


class MeansMember(ABC):
    """One law on means."""

    means: Means

    @abstractmethod
    def fitted(self, u_SD: np.ndarray) -> np.ndarray:
        """z of the law at the places, (S, K)."""

    @abstractmethod
    def hyper(self, u_SD: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(a, sigma), (S,) each, on the fitting scale."""

    def log_likelihood(self, u_SD: np.ndarray) -> np.ndarray:
        size, sigma = self.hyper(u_SD)
        squares, dof = self.means.within
        with np.errstate(all="ignore"):
            found = self.means.misfit.log_likelihood(self.residual(u_SD), size, sigma)
        return found - dof * np.log(sigma) - squares / (2 * sigma**2)

    def residual(self, u_SD: np.ndarray) -> np.ndarray:
        return self.means.z_K - self.fitted(u_SD)

    def misfit(self, u_SD: np.ndarray, log_GI: np.ndarray, normal_S: np.ndarray) -> np.ndarray:
        """The misfit at G places given the means, (S, G)."""
        return self.means.misfit.draws(log_GI, self.residual(u_SD), *self.hyper(u_SD), normal_S)


def log_normal(setting: tuple[float, float], u: np.ndarray) -> np.ndarray:
    return setting[0] * np.exp(setting[1] * u)


def floor_share(u: np.ndarray, none: float) -> np.ndarray:
    """Of what is above the lowest floor: 0 with probability `none`, else uniform."""
    return np.maximum(0.0, (ndtr(u) - none) / (1 - none))
