"""Exports: the other site's rules hold for any claim, and what the entry does not state is not invented."""

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from told import UNTIL, claim, forecast, told

from scaling.__main__ import main
from scaling.errors import InputError
from scaling.exports import OSF_FIELDS, Range, metaculus, osf, osf_markdown
from scaling.fitted import Grade
from scaling.labels import NO_CLOCK, UNBOUND, UNSHOWN
from scaling.predictions import FINISHED, Claim, Prediction, Question
from scaling.registry import Kind, Ledger, standing


def breaks_the_rules(cdf, where):
    """The site's own checks (questions/serializers/common.py), written again."""
    cdf = np.round(cdf, 10)
    steps = np.round(np.diff(cdf), 9)
    low = cdf[0] >= 0.001 if where.open_low else cdf[0] == 0.0
    high = cdf[-1] <= 0.999 if where.open_high else cdf[-1] == 1.0
    return [] if len(cdf) == 201 and low and high and np.all(steps >= 5e-5) and np.all(steps <= 0.2) else [cdf]


@settings(max_examples=60, deadline=None)
@given(
    middle=st.floats(-2, 3), sd=st.sampled_from([1e-6, 1e-3, 0.02, 0.3, 5.0]), low=st.floats(-3, 1),
    width=st.floats(0.05, 20), open_low=st.booleans(), open_high=st.booleans(), log=st.booleans(),
)  # fmt: skip
def test_any_claim_in_any_range_passes_the_sites_checks(middle, sd, low, width, open_low, open_high, log):
    where = Range(low, low + width, open_low, open_high, low - width / 10 if log else None)
    one = claim(middle=middle, sd=sd, metric="mine")
    inside = one.distribution.cdf(where.high) - one.distribution.cdf(where.low)
    if inside < 0.02:  # at .01 it is refused
        return
    assert not breaks_the_rules(metaculus(one, where).continuous_cdf, where)


def test_a_claim_well_inside_is_hardly_changed():
    """The hundredth that is spread evenly moves the distribution function by less than a hundredth."""
    where = Range(0.4, 0.6)
    one = claim(sd=0.02)
    made = metaculus(one, where)
    assert made.moved < 0.01 and made.outside < 1e-3
    assert made.continuous_cdf[100] == pytest.approx(one.distribution.cdf(0.5), abs=0.005)
    assert np.interp(0.9, made.continuous_cdf, where.x) == pytest.approx(one.interval(0.8)[1], abs=2e-3)


def test_what_lies_beyond_an_open_bound_stays_there():
    one = claim(sd=0.02)
    made = metaculus(one, Range(0.5, 0.6, open_low=True, open_high=True))
    assert made.continuous_cdf[0] == pytest.approx(one.distribution.cdf(0.5), abs=0.002)
    closed = metaculus(one, Range(0.5, 0.6))
    assert closed.outside == pytest.approx(0.5, abs=0.02) and closed.continuous_cdf[0] == 0.0


def test_mass_on_the_edge_of_the_range_is_kept():
    """A pass rate near one: the draws beyond lie on the edge 1, which is in the closed range."""
    made = metaculus(claim(middle=0.995, sd=0.02, metric="pass_rate"), Range(0.9, 1.0))
    assert made.outside == pytest.approx(0.0, abs=1e-4)
    assert 1 - made.continuous_cdf[-2] > 0.19  # cut to the largest step


def test_the_logarithmic_scale():
    x = Range(1.0, 100.0, zero_point=0.0).x
    assert x[0] == 1.0 and x[100] == pytest.approx(10.0) and x[-1] == pytest.approx(100.0)


@pytest.mark.parametrize(
    "where",
    [
        (1.0, 1.0),
        (2.0, 1.0),
        (0.0, float("inf")),
        (0.0, 1.0, False, False, 0.5),
        (0.0, 1.0, False, False, 0.0),
        (1e-300, 1e300, False, False, 0.0),
        (-1e308, 1e308),
        (1.0, math.nextafter(1.0, 2.0)),
        (0.0, 1.0, False, False, -1e300),
    ],
)
def test_a_range_must_be_one(where):
    with pytest.raises(InputError):
        Range(*where)


def test_osf_fields_are_all_there_and_unearned_claims_are_exploratory(tmp_path):
    ledger = Ledger(tmp_path)
    made = [forecast(), forecast(metric="pass_rate", grade=Grade.UNEARNED)]
    claims = [Claim.of(Question("a", UNTIL, threshold=0.49), f, ledger.put_blob(f.blob, "f64")) for f in made]
    prediction = Prediction(
        "the big run", UNTIL, tuple(claims), target={}, assumptions=("the ladder's recipe holds",), voids=("new data",),
        provenance={"data": {"points.csv": "e" * 64}, "code": {"commit": "c" * 40, "uncommitted": "x"}},
    )  # fmt: skip
    entry = ledger.append(Kind.PREDICTION, prediction.body)
    form = osf(entry, standing.find(ledger, entry.hash).prediction)
    answers = form["registration_responses"]
    assert set(answers) == {q for _, page in OSF_FIELDS for q, _ in page} == {f"q{i}" for i in range(2, 24)}
    assert "P(above 0.49)" in answers["q2"] and "UNEARNED" not in answers["q2"] and "UNEARNED" in answers["q22"]
    assert answers["q8"] == "Registration prior to creation of data"
    assert "e" * 64 in answers["q9"] and "new data" in answers["q20"] and entry.hash in answers["q23"]
    assert "uncommitted changes" in answers["q23"] and "Not stated" in answers["q7"]
    text = osf_markdown(form)
    assert text.startswith("# the big run") and all(f"### {title}\n" in text for _, p in OSF_FIELDS for _, title in p)


def test_a_run_that_had_started_is_not_called_prior(tmp_path):
    ledger = Ledger(tmp_path)
    entry = told(ledger, None, run_state="started")
    answers = osf(entry, standing.find(ledger, entry.hash).prediction)["registration_responses"]
    assert "the run had started" in answers["q8"] and "prior" not in answers["q8"]


def test_a_late_unbound_withdrawn_one_says_so_wherever_it_goes(tmp_path, capsys):
    """Proof, both exports: the same labels as in the ledger, and no claim that the run was not known."""
    ledger = Ledger(tmp_path / "ledger")
    entry = told(ledger, 0.5, run_state=FINISHED, bound=False)
    ledger.append(Kind.WITHDRAW, {"prediction": entry.hash, "reason": "it was bad"})
    at, late = ["--ledger", str(ledger.folder)], "when the run was already finished"
    assert main(["prove", "latest", "-o", str(tmp_path / "proof.json"), *at]) == 0
    assert late in (shown := capsys.readouterr()).out + shown.err
    assert main(["verify", str(tmp_path / "proof.json")]) == 0
    out = capsys.readouterr().out
    assert late in out and UNBOUND in out
    assert main(["export", "latest", "--to", "metaculus", "--low", "0.4", "--high", "0.6", "--json", *at]) == 0
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert late in found["labels"][0] and UNBOUND in found["labels"] and "it was bad" in found["remarks"][0]
    for words in (late, UNBOUND, "WITHDRAWN"):
        assert words in shown.err
    assert main(["export", "latest", "--to", "osf", "--json", *at]) == 0
    answers = json.loads((shown := capsys.readouterr()).out)["registration_responses"]
    assert late in answers["q23"] and "it was bad" in answers["q23"] and late in shown.err
    assert "had finished" in answers["q9"] and "not among them" not in answers["q9"]
    sound = osf(entry, standing.find(ledger, told(ledger, None).hash).prediction)["registration_responses"]
    assert "had not started" in sound["q9"] and "not among them" in sound["q9"]


def test_the_verb(tmp_path, capsys):
    ledger = Ledger(tmp_path / "ledger")
    told(ledger, None)
    at = ["--ledger", str(ledger.folder)]
    out = tmp_path / "cdf.json"
    assert main(["export", "latest", "--to", "metaculus", "--low", "0.4", "--high", "0.6", "-o", str(out), *at]) == 0
    written = json.loads(out.read_text())
    assert not breaks_the_rules(written["continuous_cdf"], Range(0.4, 0.6)) and written["claim"] == "pretrain.loss.all"
    assert len(capsys.readouterr().out.splitlines()) == 201
    assert main(["export", "latest", "--to", "osf", "-o", str(tmp_path / "p.md"), *at]) == 0
    assert (tmp_path / "p.md").read_text().startswith("# q")
    assert main(["export", "latest", "--to", "osf", "-o", str(tmp_path / "p.json"), "--json", *at]) == 0
    assert json.loads((tmp_path / "p.json").read_text())["title"] == "q"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--to", "metaculus"], 2, "--low and --high"),
        (["--to", "metaculus", "--low", "5", "--high", "6"], 1, "0 % of its probability"),
        (["--to", "metaculus", "--low", "1", "--high", "0"], 1, "the range 1 .. 0 is none"),
        (["--to", "metaculus", "--low", "0", "--high", "1", "--claim", "x"], 1, "no claim 'x'"),
        (["--to", "nowhere"], 2, "nowhere"),
    ],
)
def test_bad_input_writes_nothing(tmp_path, capsys, arguments, code, says):
    ledger = Ledger(tmp_path / "ledger")
    told(ledger, None)
    out = tmp_path / "out.json"
    assert main(["export", "latest", *arguments, "-o", str(out), "--ledger", str(ledger.folder)]) == code
    assert says in capsys.readouterr().err and not out.exists()


def test_a_proof_says_that_it_shows_no_outside_clock_and_the_ledger_says_more(tmp_path, capsys):
    """The attack: many private ledgers, the best one's proof shown without a word of it."""
    ledger = Ledger(tmp_path / "ledger")
    told(ledger, 0.5)
    at, proof = ["--ledger", str(ledger.folder)], str(tmp_path / "proof.json")
    assert main(["prove", "latest", *at]) == 0 and UNSHOWN in capsys.readouterr().err
    assert main(["prove", "latest", "-o", proof, *at]) == 0
    capsys.readouterr()
    for words, beyond in (([], False), (at, True)):
        assert main(["verify", proof, *words]) == 0
        out = capsys.readouterr().out
        assert UNSHOWN in out and (f"by the ledger: {NO_CLOCK}" in out) == beyond
