"""Sections on uncertainty: what it is made of, which choice decides; methods in words; names told apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from report_example import DRAWS, PARTS, example
from test_report_document import headings, said, table_after

from reports import Document, ReportInput, forecast_document
from reports.blocks import Block, Bullets, Checklist, ClaimCards, Figure, Heading, Table, Text
from reports.methods import made_by
from reports.render_html import html_of
from reports.render_pdf import pdf_of
from reports.series import all_series, residual_rows
from scaling.fitted import Forecast
from scaling.gates import Gate
from scaling.parts import SOURCES


def blocks_of(document: Document, anchor: str) -> list[Block]:
    """What stands under a heading, up to the next one of its level."""
    at = next(i for i, b in enumerate(document.blocks) if isinstance(b, Heading) and b.anchor == anchor)
    later = enumerate(document.blocks[at + 1 :], at + 1)
    end = next((i for i, b in later if isinstance(b, Heading) and b.level == 2), len(document.blocks))
    return list(document.blocks[at + 1 : end])


def told(document: Document, anchor: str, kind: type[Any]) -> Any:
    return next(b for b in blocks_of(document, anchor) if isinstance(b, kind))


# -- what it is made of ------------------------------------------------------------------------------------------


def test_shares_of_every_headline_claim_stand_in_table_and_bars(document: Document) -> None:
    table, figure = told(document, "parts", Table), told(document, "parts", Figure)
    assert table.headers == ("claim", "parameters", "seed", "evaluation", "sd", "sd / median")
    loss = next(row for row in table.rows if row[0] == "loss before RL")
    assert loss[1:4] == ("60 %", "30 %", "10 %")
    f = next(f for f in example().forecasts if f.subject.metric == "loss")
    assert float(loss[4].split()[0]) == pytest.approx(f.sd, rel=0.05)
    assert loss[4].endswith("nats per token")
    assert [row[0] for row in table.rows] == [c.title for c in document.find(ClaimCards)[0].cards]
    svg = figure.panels[0].svg
    assert svg.count(">60 %<") == len(table.rows)
    assert "part" in svg and "law form" not in svg  # nobody knows it here
    assert "loss before RL: parameters 60 %, seed 30 %, evaluation 10 %; sd" in figure.panels[0].alt
    assert "loss before RL,seed,0.3" in figure.csv
    assert "The largest source of every headline claim is parameters." in told(document, "parts", Text).text
    assert [item.split(":")[0] for item in told(document, "parts", Bullets).items] == [
        "parameters",
        "seed",
        "evaluation",
    ]


def test_unknown_parts_are_said_to_be_and_never_zero() -> None:
    report = example(first=3)
    first, *rest = report.forecasts
    gap = replace(first, parts={"parameters": 0.01, "law form": 0.03})
    mixed = forecast_document(replace(report, forecasts=[gap, *rest]))
    table = told(mixed, "parts", Table)
    assert table.rows[0][1:5] == ("25 %", "75 %", "–", "–")
    assert "law form for loss before RL; parameters for pass_rate before RL and" in told(mixed, "parts", Text).text
    elsewhere = replace(report, forecasts=[replace(first, draws_SG=first.draws_SG + 1e-6), *rest])
    unknown = forecast_document(elsewhere)  # not the registered draws: what those are made of is not known
    assert "Not known: loss before RL" in told(unknown, "parts", Text).text
    assert "loss before RL" not in [row[0] for row in told(unknown, "parts", Table).rows]
    without = replace(report, forecasts=[replace(f, parts={}) for f in report.forecasts])
    assert "parts" not in headings(forecast_document(without))


def test_every_source_has_a_colour_and_a_sentence() -> None:
    report = example(first=1)
    parts = dict.fromkeys(SOURCES, 1.0)
    document = forecast_document(replace(report, forecasts=[replace(f, parts=parts) for f in report.forecasts]))
    page = html_of(document)
    for source in SOURCES:
        assert f"var(--part-{source.replace(' ', '-')})" in page
    assert len(told(document, "parts", Bullets).items) == len(SOURCES)


# -- which choice decides ----------------------------------------------------------------------------------------


def test_the_deciding_choice_is_named_and_whether_it_leaves_the_interval(document: Document) -> None:
    first = told(document, "choices", Table)
    assert dict(zip(first.headers, first.rows[0], strict=True)) == {
        "claim": "loss before RL", "own law": "power", "as fitted, 90 %": "0.485 [0.461, 0.509]",
        "moved most by": "floor: 0", "to": "0.427", "by": "-4.00 sd", "leaves 90 % of": "its law",
        "choices that do": "1 of 2",
    }  # fmt: skip
    assert first.tones[0] == "bad"
    table = told(document, "all-choices", Table)
    assert table.brief == len(table.rows)  # folded on screen, whole in print
    assert table.headers[:2] == ("choice", "loss before RL, law power")
    cells = {row[0]: row[1] for row in table.rows}
    assert cells["as fitted"] == "0.485 [0.461, 0.509]"
    assert cells["floor: 0"] == "0.427 [0.402, 0.451] *"
    assert cells["without the cheapest scale"] == "TOO_FEW_POINTS"


def test_a_mixed_forecast_is_examined_by_its_questions_own_law() -> None:
    document = forecast_document(with_law("pool", "50 % two-stage: a; 50 % one law: power"))
    assert told(document, "choices", Table).rows[0][1] == "power"
    assert told(document, "choices", Table).rows[0][6] == "its law and the claim"
    assert not {"choices", "all-choices"} & set(headings(forecast_document(example(sensitivities=()))))
    assert "choices" not in headings(forecast_document(example(sensitivities=())))


# -- methods and names -------------------------------------------------------------------------------------------


def with_law(law: str, method: str, **changes: Any) -> ReportInput:
    """The example, every forecast and claim made by another method."""
    report = example(**changes)
    assert report.prediction
    claims = tuple(replace(c, law=law, method=method) for c in report.prediction.claims)
    forecasts = [replace(f, law=law, method=method) for f in report.forecasts]
    return replace(report, forecasts=forecasts, prediction=replace(report.prediction, claims=claims))


@pytest.mark.parametrize(
    ("law", "method", "says", "card"),
    [
        (
            "pool",
            "75 % two-stage: power law of the loss, then pass_map (level 1.8, slope 1.6); 25 % one law: pass_rate",
            "A pool mixes methods",
            "pool: 75 % two-stage: power law of the loss, then pass_map; 25 % one law: pass_rate",
        ),
        (
            "average",
            "average of power (0.7), onset (0.2) and broken (0.1) by evidence",
            "An average mixes laws by their evidence",
            "average of power, onset and broken by evidence",
        ),
        ("<b>o</b>", "asked #eval", "'<b>o</b>' is no law that this program knows", "<b>o</b>: asked #eval"),
    ],
)  # fmt: skip
def test_what_is_no_single_law_says_in_one_sentence_what_it_is(law: str, method: str, says: str, card: str) -> None:
    document = forecast_document(with_law(law, method, first=3))
    assert dict(document.find(ClaimCards)[0].cards[0].facts)["made by"] == law
    making = told(document, "claims", Bullets).items
    assert making == (f"Made by {card} (loss before RL, pass_rate before RL and pass_rate after RL).",)
    assert says in told(document, "hard", Text).text
    assert says in told(document, "parameters", Text).text
    assert f"loss before RL: {method}." in told(document, "parameters", Bullets).items
    assert {row[1] for row in table_after(document, "hard").rows} == {law}
    captions = {f.anchor: f.caption for f in document.find(Figure)}
    assert f"Forecast by {law}: no single law's curve is drawn." in captions["fan-loss"]
    answers = dict(item for _, items in document.find(Checklist)[0].groups for item in items)
    assert says in answers["Form of the law"]
    assert "<b>o<" not in html_of(document)
    assert pdf_of(document)


def test_one_law_needs_no_such_sentence(document: Document) -> None:
    assert "mixes" not in said(document)
    assert dict(document.find(ClaimCards)[0].cards[0].facts)["made by"] == "one law, power"
    caption = next(f.caption for f in document.find(Figure) if f.anchor == "fan-loss")
    assert "single law" not in caption and "Not drawn" not in caption


def test_a_reason_behind_a_method_is_left_to_the_laws_section() -> None:
    method = "90 % two-stage: a (b 1); 10 % one law: power; log bend ~ N(log 4, 0.2) because depth, trap gets worse"
    made = replace(example(first=1).forecasts[0], law="pool", method=method)
    assert made_by(made) == "pool: 90 % two-stage: a; 10 % one law: power"


def two_claims() -> tuple[Forecast, Forecast]:
    main = example(registered=False, first=4).forecasts[3]
    assert main.subject.metric == "neg_log_pass"
    return replace(main, law="pool", method="a pool"), replace(main, draws_SG=main.draws_SG * 0.9)


def test_two_claims_about_one_subject_differ_wherever_they_are_named() -> None:
    report = example(registered=False, first=4)
    document = forecast_document(replace(report, forecasts=[*report.forecasts[:3], *two_claims()]))
    pool, bare = "neg_log_pass after RL (pool)", "neg_log_pass after RL (law without a floor)"
    named = {
        "cards": [c.title for c in document.find(ClaimCards)[0].cards],
        "parts": [row[0] for row in told(document, "parts", Table).rows],
        "claims": [row[0] for row in table_after(document, "all-claims").rows],
        "hard": [row[0] for row in table_after(document, "hard").rows],
    }
    for where, names in named.items():
        assert {pool, bare} <= set(names), where
        assert len(set(names)) == len(names), where
    caption = next(f.caption for f in document.find(Figure) if f.anchor == "fan-neg-log-pass")
    assert f"Not drawn: {bare}." in caption


def test_a_users_own_words_stay_the_title_unless_they_stand_twice() -> None:
    report = example(first=2)
    assert report.prediction

    def titles(*texts: str) -> list[str]:
        assert report.prediction
        claims = tuple(replace(c, text=t) for c, t in zip(report.prediction.claims, texts, strict=True))
        made = replace(report, prediction=replace(report.prediction, claims=claims))
        return [c.title for c in forecast_document(made).find(ClaimCards)[0].cards]

    assert titles("the big run", "its passes") == ["the big run", "its passes"]
    assert titles("ours", "ours") == ["ours: loss before RL", "ours: pass_rate before RL"]


# -- drawn and said ----------------------------------------------------------------------------------------------


def test_residuals_are_those_from_the_median_that_is_drawn() -> None:
    report = example(registered=False, first=1)
    (fit,), (f,) = report.fits, report.forecasts
    before = residual_rows(all_series(report)[0])
    assert len(before) == fit.n_points
    assert np.std([r.z for r in before]) == pytest.approx(1, abs=0.4)
    shifted = replace(f, draws_SG=f.draws_SG * np.exp(2 * fit.noise), law="pool")
    after = residual_rows(all_series(replace(report, forecasts=[shifted]))[0])
    assert [b.z - a.z for a, b in zip(before, after, strict=True)] == pytest.approx([-2.0] * len(before))


def test_intervals_are_called_what_they_are(document: Document) -> None:
    fits = [replace(f, method="refits to redrawn runs") for f in example(first=1).fits]
    text = said(forecast_document(replace(example(first=1), fits=fits)))
    assert "the central 90 % of its draws (refits to redrawn runs)" in text
    assert f"no, by another way: {DRAWS} draws of the parameters; refits to redrawn runs" in text
    assert "bootstrap interval" not in text


def test_a_status_is_explained_once(document: Document) -> None:
    assert "BOUND_HIT: the optimum lies on a bound" in told(document, "hard", Text).text
    assert said(document).count("the optimum lies on a bound") == 1


def test_a_gate_is_told_in_full_once() -> None:
    says = "half the rate: loss +4.1% ± 0.9% at 3e7 FLOP (+: better), limit 2%"
    gate = Gate("pretrain: the rate is right", False, 0.041, 0.02, says)
    report = example(registered=False, first=3, gates=(gate,))
    gated = [f.with_gates([gate]) for f in report.forecasts]
    document = forecast_document(replace(report, forecasts=gated))
    assert said(document).count(says) == 1
    shared = " ".join(told(document, "hard", Bullets).items)
    assert shared == "gate 1 FAILED refused: gate 1 FAILED"
    assert table_after(document, "gates").rows[0][:2] == ("1. pretrain: the rate is right", "FAILED")
    assert PARTS["seed"] == gated[0].parts["seed"]  # a gate moves no number
