"""Given and tied parameters, weights and the refits' own status, as a fit shows them."""

from dataclasses import replace

import numpy as np
import pytest
from worlds import HALF_DECADES, NINE, POWER, PURE_POWER, replicates

import fits
from scaling.errors import InputError
from scaling.laws import LAWS

LAW = LAWS["power"]


def runs():
    return POWER.runs(replicates(HALF_DECADES, 3), noise=0.02, seed=1)


def test_a_given_value_holds_in_every_draw():
    made = fits.fit(LAW, runs(), fixed={"floor": 0.45}, resamples=200)
    assert made.parameters["floor"] == 0.45
    assert np.all(made.draws_SP[:, 0] == 0.45)
    assert "floor = 0.45 given" in made.objective and "floor ~" not in made.objective
    free = fits.fit(LAW, runs(), resamples=200)
    assert made.standard_error("exponent") < free.standard_error("exponent")


def test_a_tie_holds_in_every_draw():
    made = fits.fit(LAW, runs(), tied={"floor": ("scale", 1.5)}, resamples=200)
    np.testing.assert_allclose(made.draws_SP[:, 0], 1.5 * made.draws_SP[:, 1], rtol=1e-12)
    assert "floor = 1.5 x scale" in made.objective


def test_refits_that_hit_a_bound_are_counted():
    made = fits.fit(LAW, PURE_POWER.runs(NINE, noise=0.02, seed=1), resamples=200)
    hit = int(np.sum((made.draws_SP <= LAW.bounds[:, 0]).any(1) | (made.draws_SP >= LAW.bounds[:, 1]).any(1)))
    assert hit > 0
    assert f"of 200 refits {hit} BOUND_HIT" in " ".join(made.notes)


def test_rows_of_no_weight_do_not_count():
    """A run that is far off and weighs nothing leaves the optimum where it was."""
    table = runs()
    frame = table.frame.copy()
    frame.loc[frame.index[0], "value"] *= 3
    odd = replace(table, frame=frame.assign(trust=np.where(frame.index == frame.index[0], 0.0, 1.0)))
    weighted = fits.fit(LAW, odd, weights="trust", priors=(), resamples=10)
    equal = fits.fit(LAW, odd, priors=(), resamples=10)
    truth = np.array([0.45, 0.24, 0.32])
    off = [np.abs(np.array(list(f.parameters.values())) - truth).max() for f in (weighted, equal)]
    assert off[0] < 0.1 < off[1]


def test_a_weight_that_is_none_is_refused():
    with pytest.raises(InputError, match="no column"):
        fits.fit(LAW, runs(), weights="trust")
