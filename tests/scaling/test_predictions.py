"""Questions, claims, predictions and their scores: JSON round trips, and scores from the ledger's numbers alone."""

import math
from dataclasses import replace

import numpy as np
import pytest

from scaling.errors import InputError
from scaling.fitted import LEVELS, Forecast, Grade, Subject, read_forecasts, write_forecasts
from scaling.gates import Gate
from scaling.predictions import Claim, Measured, Prediction, Question, Resolution
from scaling.records import canonical, parse
from scaling.scores import QuantileDistribution
from scaling.scoring import score, scores

SUBJECT = Subject("pass_rate", "rl", "all", "p")


@pytest.fixture
def forecast():
    rng = np.random.default_rng(0)
    draws = np.clip(0.7 + 0.05 * rng.standard_normal((500, 3)), 0, 1)
    return Forecast(
        subject=SUBJECT, law="pass_rate", fit_digest="f" * 64, data_digest="d" * 64, grid_G=np.array([1e9, 1e11, 1e13]),
        draws_SG=draws, latent_SG=draws, target=1e13, max_x=1e11, grade=Grade.EXTENDED, earned_factor=6.0,
        baselines={"last value": 0.6}, method="one law", warnings=("far",),
    )  # fmt: skip


@pytest.fixture
def claim(forecast):
    return Claim.of(Question("the big run", "2027-03-01", threshold=0.6), forecast, "b" * 64)


def test_a_forecast_survives_its_file(forecast, tmp_path):
    write_forecasts(tmp_path / "f.json", [forecast, forecast])
    one, _ = read_forecasts(tmp_path / "f.json")
    for name in forecast.__dataclass_fields__:
        np.testing.assert_equal(getattr(one, name), getattr(forecast, name))
    assert one.draws_digest == forecast.draws_digest
    assert one.quantiles == forecast.quantiles
    assert one.factor == 100


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f["draws_SG"].update(float64=f["latent_SG"]["float64"][:-8] + "AAAAAAA="), "digest"),
        (lambda f: f.pop("target"), "not a forecast"),
        (lambda f: f.update(v=5), "newer version of this program .version 5"),
        (lambda f: f.update(parts={"luck": 1.0}), "forecast 0: parts has an unknown source 'luck'"),
        (lambda f: f.update(parts={"seed": -1.0}), "forecast 0: the variance from seed is -1"),
        (lambda f: f.update(parts={"seed": "much"}), "the variance from seed is 'much'"),
        (lambda f: f.update(parts=[0.1]), "no mapping of sources"),
        (lambda f: f.update(grade="SURE"), "SURE"),
        (lambda f: f.update(grid_G=f["draws_SG"]), "do not fit"),
        (lambda f: f["draws_SG"].update(shape=[7, 7]), "not a forecast"),
        (lambda f: f["draws_SG"].update(float64="!"), "not a forecast"),
    ],
)
def test_a_changed_file_is_refused(forecast, tmp_path, change, says):
    write_forecasts(tmp_path / "f.json", [forecast])
    body = parse((tmp_path / "f.json").read_bytes())
    change(body["forecasts"][0])
    (tmp_path / "f.json").write_bytes(canonical(body))
    with pytest.raises(InputError, match=says):
        read_forecasts(tmp_path / "f.json")


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "f.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="not a file of forecasts"):
        read_forecasts(tmp_path / "f.json")


OTHERWISE = ["20260101", "2026-W01-1", "2026W011", "2026-1-1", "2027-02-30", "soon", " 2027-01-01", "", 20300101, None]


@pytest.mark.parametrize(("text", "until"), [("", "2027-01-01"), *(("x", until) for until in OTHERWISE)])
def test_a_question_has_a_text_and_a_date(text, until):
    with pytest.raises(InputError):
        Question(text, until)


@pytest.mark.parametrize("until", OTHERWISE)
def test_a_deadline_written_otherwise_is_refused_in_an_entry_too(claim, until):
    """Compared as text, 20260101 is later than any day of 2026, so that it never expires."""
    body = Prediction("t", "2026-12-31", (claim,), {}, {}).body
    with pytest.raises(InputError, match=r"deadline .* is not a date"):
        Prediction.from_body({**body, "until": until})


def test_a_claim_reads_back(claim):
    assert Claim.from_json(parse(canonical(claim))) == claim
    assert claim.id == "rl.pass_rate.all"
    assert "EXTENDED" in claim.sentence


def test_claims_need_rising_finite_quantiles(claim):
    with pytest.raises(InputError, match="must not fall"):
        replace(claim, quantiles=claim.quantiles[::-1])
    with pytest.raises(InputError, match="finite"):
        replace(claim, quantiles=(math.nan, *claim.quantiles[1:]))


PASSED, FAILED, OPEN = (
    Gate(name, state, 0.1, 0.02, "found") for name, state in zip("abc", (True, False, None), strict=True)
)


@pytest.mark.parametrize(
    ("gate", "grade", "near", "far"),  # within the factor that back-tests held, and beyond it
    [
        (PASSED, Grade.EARNED, Grade.EARNED, Grade.EARNED),
        (OPEN, Grade.EARNED, Grade.EARNED, Grade.EARNED),
        (OPEN, Grade.EXTENDED, Grade.EXTENDED, Grade.EXTENDED),
        (FAILED, Grade.EARNED, Grade.EXTENDED, Grade.REFUSED),
        (FAILED, Grade.EXTENDED, Grade.EXTENDED, Grade.REFUSED),
        (FAILED, Grade.REFUSED, Grade.REFUSED, Grade.REFUSED),
        (FAILED, Grade.UNEARNED, Grade.UNEARNED, Grade.UNEARNED),
        (replace(FAILED, stage="pretrain"), Grade.EARNED, Grade.EXTENDED, Grade.REFUSED),
        (replace(FAILED, stage="rl"), Grade.EXTENDED, Grade.EXTENDED, Grade.REFUSED),
        (replace(FAILED, stage="other"), Grade.EARNED, Grade.EARNED, Grade.EARNED),
    ],
)
def test_a_failed_gate_of_the_stage_caps_the_grade_and_refuses_what_was_not_back_tested(
    forecast, gate, grade, near, far
):
    concerned = gate.stage != "other"
    for beyond, stands in ((6.0, near), (7.0, far)):
        before = replace(forecast, grade=grade, max_x=forecast.target / beyond)
        made = before.with_gates([gate])
        assert made.grade == stands
        assert made.draws_digest == forecast.draws_digest
        assert made.gates == ((gate,) if concerned else ())
        refused = stands == Grade.REFUSED != grade
        assert len(made.warnings) == 1 + (concerned and not gate.passed) + refused
        assert ("gate b: FAILED" in made.warnings[-1]) == (concerned and gate.passed is False and not refused)
        assert ("refused: gate b FAILED (found)" in made.warnings[-1]) == refused
        assert made.with_gates([gate]) == made


def test_inside_the_data_a_failed_gate_leaves_extended(forecast):
    inside = replace(forecast, grade=Grade.EARNED, earned_factor=None, max_x=2e13)
    assert inside.with_gates([FAILED]).grade == Grade.EXTENDED


def test_gates_travel_with_forecast_and_prediction(forecast, claim, tmp_path):
    write_forecasts(tmp_path / "f.json", [forecast.with_gates([PASSED, OPEN])])
    (read,) = read_forecasts(tmp_path / "f.json")
    assert read.gates == (PASSED, OPEN)
    made = Prediction("t", "2027-03-01", (claim,), {}, {}, gates=read.gates)
    assert Prediction.from_body(parse(canonical(made.body))) == made
    assert made.body["v"] == 2
    before = {**made.body, "v": 1}  # of the version that wrote gates without a number of its own
    assert Prediction.from_body(before).body == before
    plain = Prediction("t", "2027-03-01", (claim,), {}, {})
    assert plain.body["v"] == 1 and "gates" not in plain.body  # reads as it did before there were any
    with pytest.raises(InputError, match="newer version of this program"):
        Prediction.from_body({**plain.body, "v": 4})


def test_a_forecast_of_before_there_were_gates_is_read(forecast, tmp_path):
    write_forecasts(tmp_path / "f.json", [forecast])
    body = parse((tmp_path / "f.json").read_bytes())
    assert body["forecasts"][0]["v"] == 1 and "gates" not in body["forecasts"][0]
    assert read_forecasts(tmp_path / "f.json")[0].gates == ()


def test_parts_travel_and_older_files_have_none(forecast, tmp_path):
    parts = {"seed": 1, "parameters": 3.0, "evaluation": 0.0}
    for made, version in (
        (replace(forecast, parts=parts), 3),
        (replace(forecast, parts=parts).with_gates([PASSED]), 3),
        (forecast.with_gates([PASSED]), 2),
        (forecast, 1),
    ):
        write_forecasts(tmp_path / "f.json", [made])
        body = parse((tmp_path / "f.json").read_bytes())["forecasts"][0]
        assert (body["v"], "parts" in body, "gates" in body) == (version, version == 3, bool(made.gates))
        (read,) = read_forecasts(tmp_path / "f.json")
        assert (read.parts, read.gates, read.draws_digest) == (made.parts, made.gates, forecast.draws_digest)
    assert list(replace(forecast, parts=parts).shares.items()) == [
        ("parameters", 0.75), ("seed", 0.25), ("evaluation", 0.0)
    ]  # fmt: skip
    assert forecast.shares == replace(forecast, parts={"seed": 0.0}).shares == {}
    with pytest.raises(InputError, match="variance from seed is nan"):
        replace(forecast, parts={"seed": math.nan})


def test_a_prediction_reads_back(claim):
    made = Prediction("t", "2027-03-01", (claim,), {}, {"commit": "c"})
    assert Prediction.from_body(parse(canonical(made.body))) == made
    with pytest.raises(InputError, match="twice"):
        Prediction("t", "2027-03-01", (claim, claim), {}, {})


def test_scores_come_from_the_quantiles_alone(claim):
    made = score(claim, Measured(0.72, protocol="p"))
    assert made.crps == pytest.approx(QuantileDistribution(LEVELS, claim.quantiles, 0, 1).crps(0.72))
    assert made.hits == {"50": True, "80": True, "90": True, "95": True}
    assert made.error == pytest.approx(claim.median / 0.72 - 1)
    assert made.baselines["last value"] == pytest.approx(0.12)
    assert made.beats["last value"]
    assert 0.5 < made.pit < 0.8


def test_another_protocol_or_an_impossible_value_is_not_scored(claim):
    with pytest.raises(InputError, match="protocol"):
        score(claim, Measured(0.72, protocol="q"))
    with pytest.raises(InputError, match="percent"):
        score(claim, Measured(72.0, protocol="p"))


def test_unknown_claims_are_named(claim):
    made = Prediction("t", "2027-03-01", (claim,), {}, {})
    with pytest.raises(InputError, match="no claim 'loss'"):
        scores(made, Resolution("h", {"loss": Measured(1.0)}))
    assert len(scores(made, Resolution("h", {claim.id: Measured(0.7, protocol="p")}))) == 1
