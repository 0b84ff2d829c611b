"""The report model: what it contains, and what is left when parts of the input are missing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from report_example import TARGET, example

from reports import Document, ReportInput, forecast_document
from reports.blocks import Bullets, Checklist, ClaimCards, Figure, Heading, KeyFacts, Table, Text, Warning, WhatIf
from reports.figures import fan
from reports.series import all_series
from scaling.errors import InputError
from scaling.fitted import LEVELS
from scaling.gates import Gate
from scaling.predictions import STARTED, Measured
from scaling.records import canonical, parse


def said(document: Document, *kinds: type[Any]) -> str:
    return "\n".join(canonical(b.to_json()).decode() for b in document.blocks if not kinds or isinstance(b, kinds))


def headings(document: Document) -> list[str]:
    return [h.anchor for h in document.find(Heading)]


def table_after(document: Document, anchor: str) -> Table:
    at = next(i for i, b in enumerate(document.blocks) if isinstance(b, Heading) and b.anchor == anchor)
    return next(b for b in document.blocks[at:] if isinstance(b, Table))


def test_contents_in_order(document: Document) -> None:
    expected = ["claims", "forecasts", "what-if", "buckets", "hard", "backtests", "scores", "residuals", "parameters",
                "costs", "assumptions", "runs", "provenance", "notes", "checklist"]  # fmt: skip
    assert [a for a in headings(document) if a in expected] == expected


def test_anchors_are_unique(document: Document) -> None:
    anchors = headings(document) + [f.anchor for f in document.find(Figure)]
    assert len(set(anchors)) == len(anchors)


def test_the_headline_claim_says_everything(document: Document) -> None:
    card = next(c for c in document.find(ClaimCards)[0].cards if c.title == "pass_rate after RL")
    assert card.value == "0.866"
    assert card.sentence == "fraction"
    assert card.facts[:2] == (("50 %", "[0.849, 0.884]"), ("90 %", "[0.828, 0.904]"))
    assert "at 6e12 FLOP, 97x beyond the data, back-tested to 5.4x." in said(document, Text)
    assert (card.outcome, card.verdict, card.tone) == (
        "0.862",
        "inside the 50 % interval, median off by +0.5 %",
        "good",
    )
    assert card.grade == "EXTENDED"
    lead = document.find(Text)[0].text
    assert "before the run had started" in lead
    assert "efefefefefefefef" in lead


def test_what_cards_share_is_said_once_and_what_differs_on_each(document: Document) -> None:
    texts = said(document, Text, ClaimCards, Bullets)
    assert texts.count("back-tested to 5.4x") == 1
    assert texts.count("Made by one law, power (loss before RL).") == 1
    apart = [replace(f, earned_factor=2.0 + i) for i, f in enumerate(example(registered=False).forecasts)]
    other = forecast_document(example(registered=False, forecasts=apart))
    cards = other.find(ClaimCards)[0].cards
    assert [f"back-tested to {2 + i}x" in card.sentence for i, card in enumerate(cards)] == [True] * len(cards)


def test_the_first_table_answers_how_far_how_sure_at_what_cost_and_whether_before() -> None:
    def answers(**changes: Any) -> dict[str, str]:
        return dict(forecast_document(example(**changes)).find(Table)[0].rows)

    known = answers()
    assert known["how far"] == "6e12 FLOP, 97x beyond the largest run fitted; back-tests held to 5.4x."
    assert "10 claims EXTENDED" in known["how sure"] and "2 claims REFUSED" in known["how sure"]
    assert "target 7.2e12 FLOP and 1.4 core-hours" in known["cost"] and "14x the sweep" in known["cost"]
    assert known["said before the run?"].startswith("Yes, 2026-11-21 20:15:02 UTC, unsigned; the target's seeds derive")
    assert answers(registered=False)["said before the run?"] == "No: not registered."
    assert answers(costs={})["cost"] == "– (not stated)"
    report = example()
    assert report.prediction and report.resolution
    late = replace(report.prediction, run_state=STARTED)
    told = answers(prediction=late, resolution=replace(report.resolution, bound=False))["said before the run?"]
    assert told.startswith("No, ") and "do not derive" in told


def test_all_claims_in_one_table_with_hits(document: Document) -> None:
    table = table_after(document, "all-claims")
    assert len(table.rows) == 12
    missed = next(r for r in table.rows if r[0] == "neg_log_pass after RL")
    assert missed[table.headers.index("inside")] == "none"
    assert table.tones[table.rows.index(missed)] == "bad"


def test_refused_forecasts_are_marked_everywhere(document: Document) -> None:
    assert "REFUSED" in next(r for r in table_after(document, "all-claims").rows if r[0].endswith("depth-4"))
    reasons = next(r for r in table_after(document, "hard").rows if r[0] == "pass_rate after RL, depth-4")
    assert "BOUND_HIT" in reasons[-1]
    assert "not earned" in reasons[-1]
    only = [f for f in example(registered=False).forecasts if f.subject.bucket == "depth-4"]
    card = forecast_document(example(registered=False, forecasts=only)).find(ClaimCards)[0].cards[0]
    assert card.grade == "REFUSED: not earned"


def test_failed_runs_stay_visible_and_come_first(document: Document) -> None:
    table = table_after(document, "runs")
    assert table.tones[0] == "bad"
    assert table.rows[0][-1] == "loss became NaN at step 212"
    assert len(table.rows) == 30


def test_every_figure_has_words_and_numbers(document: Document) -> None:
    figures = document.find(Figure)
    assert {f.anchor for f in figures} >= {"fan-loss", "fan-pass-rate", "fan-neg-log-pass", "buckets-figure"}
    for figure in figures:
        assert len(figure.caption) > 60
        assert figure.table.rows
        assert figure.csv.count("\r\n") >= len(figure.table.rows)
        assert all(len(p.alt) > 40 for p in figure.panels)


def test_alternative_text_tells_the_forecast(document: Document) -> None:
    alt = next(f for f in document.find(Figure) if f.anchor == "fan-loss").panels[0].alt
    assert "predicted 0.484 (90 %: 0.453 to 0.518) at 6e12 FLOP; measured 0.493" in alt


def test_chart_and_claim_print_the_same_number(document: Document) -> None:
    for card, anchor in zip(
        document.find(ClaimCards)[0].cards, ("loss", "pass-rate", "pass-rate", "neg-log-pass"), strict=True
    ):
        svg = next(f for f in document.find(Figure) if f.anchor == f"fan-{anchor}").panels[0].svg
        assert f" {card.value}<" in svg
        assert f"outcome {card.outcome}<" in svg


def test_slider_bands_and_claim_come_from_the_same_draws(document: Document) -> None:
    report = example()
    for series, claim in zip(document.find(WhatIf)[0].series, report.headlines, strict=True):
        at = series["grid"].index(TARGET)
        assert series["quantiles_GL"][at] == pytest.approx(claim.quantiles, rel=1e-5)
        assert series["digest"] == claim.draws_digest
        assert series["levels"] == list(LEVELS)


def test_model_is_plain_json_and_stable(document: Document) -> None:
    text = canonical(document.to_json())
    assert canonical(parse(text)) == text
    assert canonical(forecast_document(example()).to_json()) == text


def test_checklist_is_complete_for_the_example_and_honest_without_it(document: Document) -> None:
    assert document.find(Checklist)[0].unanswered == ()
    bare = forecast_document(ReportInput(title="nothing")).find(Checklist)[0]
    total = sum(len(items) for _, items in bare.groups)
    assert len(bare.unanswered) == total == 25


def test_checklist_reads_the_registered_target() -> None:
    report = example(answers={})
    assert report.prediction
    specs = {"pretrain": {"model": {"layers": 2, "width": 56}, "task": {"name": "opchain", "instance": 1}}}
    prediction = replace(report.prediction, target={"specs": specs, "rule": "the same steps at every rung"})
    checklist = forecast_document(replace(report, prediction=prediction)).find(Checklist)[0]
    answers = dict(item for _, items in checklist.groups for item in items)
    assert "2 x 56" in answers["Architecture and data set"]
    assert checklist.unanswered == ()


# -- what is missing ---------------------------------------------------------------------------------------------


def test_before_the_outcome() -> None:
    document = forecast_document(example(resolved=False, first=3))
    assert "No outcome yet; to be resolved until 2027-03-01" in document.find(Text)[0].text
    assert all(c.tone == "open" and not c.outcome for c in document.find(ClaimCards)[0].cards)
    assert "scores" not in headings(document)
    assert "measured" not in table_after(document, "all-claims").headers
    assert "Diamond" not in said(document, Figure)


def test_before_registration() -> None:
    document = forecast_document(example(registered=False, first=3))
    assert "none of them registered" in document.find(Text)[0].text
    assert document.subtitle == "Scaling forecast, not registered"
    assert document.made_at == ""
    assert "voids" not in headings(document)


def test_fits_of_a_csv_only() -> None:
    whole = example(registered=False)
    report = ReportInput(title="points.csv", observations=whole.observations, fits=whole.fits[:1])
    document = forecast_document(report)
    assert "shows the fits only" in document.find(Text)[0].text
    assert {"forecasts", "residuals", "parameters", "checklist"} <= set(headings(document))
    assert not {"claims", "what-if", "backtests", "scores", "runs", "costs"} & set(headings(document))
    assert "of what else it could be (not of new runs)" in document.find(Figure)[0].caption


def test_a_prediction_from_the_ledger_alone() -> None:
    whole = example(first=3)
    report = ReportInput(title="from the ledger", prediction=whole.prediction, resolution=whole.resolution)
    document = forecast_document(report)
    assert document.find(ClaimCards)[0].cards[0].outcome == "0.493"
    assert "what-if" not in headings(document)
    assert document.find(Figure)


def test_title_only_and_no_title() -> None:
    assert forecast_document(ReportInput(title="t")).find(Checklist)
    with pytest.raises(InputError, match="title"):
        forecast_document(ReportInput(title=" \u202e "))


def test_untested_intervals_are_said_to_be() -> None:
    assert "No back-test was made" in said(forecast_document(example(first=1, backtests=())), Warning)


# -- what lowers a claim's worth ---------------------------------------------------------------------------------


def test_gates_stand_in_a_table_with_their_state() -> None:
    gates = (Gate("a", True, 0.0, 0.02, "fine"), Gate("<b>", False, 0.1, 0.02, "half the rate is better"))
    report = example(first=1)
    assert report.prediction
    registered = forecast_document(replace(report, prediction=replace(report.prediction, gates=gates)))
    later = forecast_document(replace(report, gates=gates))
    for document in (registered, later):
        table = table_after(document, "gates")
        assert [row[:2] for row in table.rows] == [("1. a", "passed"), ("2. <b>", "FAILED")]
        assert "1 of 2 gates failed" in said(document, Warning)
    assert "as registered" in said(registered, Text) and "no part of the registered" in said(later, Text)
    assert "gates" not in headings(forecast_document(report))


def test_late_unbound_or_changed_claims_are_warned_of() -> None:
    report = example(first=3)
    assert report.prediction and report.resolution and report.outcome_receipt
    assert not forecast_document(report).find(Warning)
    claims = (replace(report.prediction.claims[0], draws_digest="0" * 64), *report.prediction.claims[1:])
    document = forecast_document(
        replace(
            report,
            prediction=replace(report.prediction, run_state=STARTED, claims=claims),
            resolution=replace(report.resolution, bound=False),
            outcome_receipt=replace(report.outcome_receipt, seq=1),
            provenance={"commit": "abc", "dirty": True},
        )
    )
    texts = " ".join(w.text for w in document.find(Warning))
    changed = "not the one that was registered: loss before RL"
    for part in ("already started", changed, "not bound", "before the prediction", "uncommitted"):
        assert part in texts
    assert "when the run was already started" in document.find(Text)[0].text


def test_some_claims_unresolved() -> None:
    report = example(first=3)
    assert report.prediction and report.resolution
    first = report.prediction.claims[0].id
    values = {first: Measured(0.493, protocol=report.prediction.claims[0].subject.protocol)}
    some = replace(report, resolution=replace(report.resolution, values=values), scores=report.scores[:1])
    document = forecast_document(some)
    assert "1 of 3 resolved" in document.find(Text)[0].text
    assert [c.tone for c in document.find(ClaimCards)[0].cards] == ["good", "open", "open"]


def test_zero_passes_are_arrows_not_points() -> None:
    report = example(registered=False)
    index = next(i for i, f in enumerate(report.fits) if f.subject.label == "pass_rate before RL")
    values = [0.0, *report.fits[index].points["value"][1:]]
    fit = replace(report.fits[index], points={**report.fits[index].points, "value": values})
    document = forecast_document(ReportInput(title="zero", fits=[fit]))
    figure = next(f for f in document.find(Figure) if f.anchor == "fan-pass-rate")
    assert "Arrows: runs without a single pass" in figure.caption
    assert "censored" in figure.panels[1].svg
    assert len(figure.panels[1].points["fan-pass-rate-b-points-0-fitted"]) == len(values) - 1


def test_two_claims_about_one_subject_are_told_apart() -> None:
    report = example(registered=False)
    first = report.forecasts[0]
    other = replace(first, method="floor known", draws_SG=first.draws_SG + 0.01)
    document = forecast_document(example(registered=False, forecasts=[first, other]))
    names = [row[0] for row in table_after(document, "all-claims").rows]
    assert names == ["loss before RL (power)", "loss before RL (floor known)"]


def test_shared_remarks_stand_once() -> None:
    report = example(first=3)
    forecasts = [replace(f, warnings=("the same for all",)) for f in report.forecasts]
    document = forecast_document(replace(report, forecasts=forecasts))
    assert ("the same for all",) in [b.items for b in document.find(Bullets)]
    assert said(document).count("the same for all") == 1


def test_figure_functions_take_and_give_axes() -> None:
    from matplotlib.figure import Figure as Canvas

    series = all_series(example())
    ax = Canvas().add_subplot()
    assert fan(series[:1], ax) is ax
    assert np.isfinite(fan(series[:1]).get_xlim()).all()


def test_provenance_prints_full_hashes(document: Document) -> None:
    facts = dict(document.find(KeyFacts)[0].items)
    assert facts["prediction entry"] == "ef" * 32
    assert facts["ledger head, over 6 entries"] == "7c" * 32
