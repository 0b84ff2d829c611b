"""The end of an RL run foretold by simpler means, to set beside `rl_average`: the last value, one sigmoid alone.

Each sees the run's beginning only, and forecasts what the log itself will hold: the mean of the run's last rows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fits.rl_curves import rl_average
from fits.rl_members import PLAIN
from scaling.fitted import LEVELS
from scaling.laws import SIGMOID
from scaling.trajectories import TAIL, Quantity, Trajectory

ALONE = replace(PLAIN, correlated=False)  # taken at its word, with white noise


def rivals(known: Trajectory, end: float) -> dict[str, Quantity]:
    """Forecasts of the run's end by name."""
    alone = rl_average(known, (SIGMOID,), setting=ALONE).forecast(end).final
    return {"sigmoid alone": alone, "last value": last_value(known, end)}


def last_value(known: Trajectory, end: float) -> Quantity:
    """The mean of the last fifth of the rows (5 at least), and what its scatter makes of another mean."""
    from scipy.special import ndtri

    rows = known.y_n[-max(5, len(known) // 5) :]
    ahead = max(1, round(TAIL * end / known.spacing))
    sd = float(rows.std(ddof=1)) * np.sqrt(1 / len(rows) + 1 / ahead)
    return Quantity(tuple(np.clip(rows.mean() + sd * ndtri(LEVELS), known.low, known.high).tolist()))
