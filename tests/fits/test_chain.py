"""Compute -> loss -> accuracy or counts, with the error of both steps; regressors beside compute."""

import numpy as np
import pytest
from worlds import table

import fits
from fits.count_cells import Counts
from fits.covariates import covariate_test, regress
from fits.difficulty import fit_difficulty
from scaling.errors import InputError, NotEarned
from scaling.observations import Observations

X = np.geomspace(1e18, 1e21, 8)


def loss_of(x):
    return 1.8 + 1.2 * (np.asarray(x) / 1e19) ** -0.25


def runs(seed=0, noise=0.004):
    rng = np.random.default_rng(seed)
    loss = loss_of(X) * np.exp(noise * rng.standard_normal(len(X)))
    accuracy = 0.25 + 0.7 / (1 + np.exp(12 * (loss / 2.6 - 1))) + 0.004 * rng.standard_normal(len(X))
    metric = table(X, accuracy, "accuracy")
    return loss, table(X, loss), Observations(**{**vars(metric), "frame": metric.frame.assign(loss=loss)})


def test_the_chain_carries_the_error_of_both_steps():
    _, losses, metric = runs()
    found = fits.chain(losses, metric, resamples=300)
    truth = 0.25 + 0.7 / (1 + np.exp(12 * (loss_of(1e22) / 2.6 - 1)))
    y = found.draws(np.array([1e22]))[0][:, 0]
    low, high = np.quantile(y, [0.05, 0.95])
    assert low <= truth <= high and high - low < 0.3

    class Known:
        """The loss without error: what is left is the map's own."""

        subject, scale, warnings, name, says, digest = found.loss.subject, found.loss.scale, (), "k", "k", "0"
        reach = found.loss.reach

        def levels(self, grid_G):
            one = np.tile(loss_of(grid_G), (300, 1))
            return one, one, one

    alone = fits.chain(losses, metric, loss=Known(), resamples=300).draws(np.array([1e22]))[0][:, 0]
    assert np.std(alone) < np.std(y)


def test_a_metric_without_a_map_or_a_loss_is_named():
    _, losses, metric = runs()
    with pytest.raises(InputError, match="no map from loss to bleu"):
        fits.chain(losses, table(X, np.ones(8), "bleu"))
    with pytest.raises(InputError, match="no column loss"):
        fits.chain(losses, table(X, np.linspace(0.3, 0.6, 8), "accuracy"))
    assert metric.inputs == ["C", "loss"]


def counts_by(log_g, seed=0, problems=80):
    rng = np.random.default_rng(seed)
    u = rng.normal(0.3, 0.8, problems)
    p = np.exp(-np.exp(u + np.asarray(log_g)[:, None]))
    return Counts(X, np.full(p.shape, 32), rng.binomial(32, p)), u


def test_counts_through_the_loss():
    loss, losses, _ = runs()
    counts, u = counts_by(3 * (np.log(loss) - np.log(loss).mean()))
    found = fits.count_chain(losses, counts, loss)
    assert found.second.coefficient_P[0] == pytest.approx(3.0, abs=4 * found.second.se_P[0])
    truth = np.exp(-np.exp(u + 3 * (np.log(loss_of(1e22)) - np.log(loss).mean()))).mean()
    low, high = np.quantile(found.pass_rates(1e22), [0.05, 0.95])
    assert low <= truth <= high
    sure = found.second.pass_rates({"log loss": float(np.log(loss_of(1e22)))})
    assert np.std(sure) < np.std(found.pass_rates(1e22))  # the loss's own error counts


def test_a_regressor_that_matters_helps_and_noise_does_not():
    rng = np.random.default_rng(2)
    z = rng.standard_normal(8)
    found = fit_difficulty(counts_by(-0.1 * (np.log(X) - np.log(X).mean()) + 0.4 * z)[0], "lognormal")
    good = covariate_test(found, "base loss", z)
    assert good.helps and good.coefficient == pytest.approx(0.4, abs=0.1)
    assert "helps" in str(good)
    noise = [covariate_test(found, "noise", rng.standard_normal(8), {"log C": np.log(X), "z": z}) for _ in range(6)]
    assert sum(one.helps for one in noise) <= 1


def test_regression_on_compute_alone_is_the_exponent():
    found = fit_difficulty(counts_by(-0.15 * (np.log(X) - np.log(X).mean()))[0], "lognormal")
    made = regress(found, {"log C": np.log(X)})
    assert made.coefficient_P[0] == pytest.approx(-0.15, abs=0.02)
    assert np.all(np.isfinite(made.pass_rates({"log C": np.log(1e22)}, draws=50)))
    with pytest.raises(InputError, match="log C has no value"):
        made.pass_rates({})


def test_what_cannot_be_tested_is_refused():
    found = fit_difficulty(counts_by(np.zeros(8))[0].at(np.arange(8) < 4), "lognormal")
    with pytest.raises(NotEarned, match="4 runs do not test 2 regressors"):
        covariate_test(found, "z", np.arange(4.0))
    with pytest.raises(InputError, match="one finite number for each of 4 runs"):
        regress(found, {"z": np.ones(3)})
