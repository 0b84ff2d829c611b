"""What is claimed and how it turned out: the sentence per headline question, the table of all claims, the scores."""

from __future__ import annotations

from collections.abc import Sequence

from reports.blocks import Block, Bullets, ClaimCard, ClaimCards, Heading, Table, Text, Warning
from reports.glance import glance_blocks
from reports.inputs import ReportInput, order_of
from reports.methods import kind_of, made_by
from reports.text import (
    MISSING,
    chance,
    clean,
    compute,
    counted,
    fixed,
    listed,
    moment,
    number,
    percent,
    places,
    significant,
    span,
    times,
)
from scaling.fitted import Grade
from scaling.labels import labels
from scaling.metrics import metric as metric_named
from scaling.names import name_of
from scaling.predictions import NOT_STARTED, Claim
from scaling.scoring import Score

SHORT_HASH = 16
HITS = ("50", "80", "90", "95")


def claim_blocks(report: ReportInput) -> list[Block]:
    """Headline claims as cards, then every claim in one table; warnings about how they were registered first."""
    if not report.claims:
        return [Text("No forecast was made: this report shows the fits only.", "lead")]
    claims = sorted(report.claims, key=lambda c: order_of(c.subject))
    headlines = report.shown_headlines
    blocks: list[Block] = [Text(_opening(report), "lead")]
    blocks += [Warning(text) for text in registration_warnings(report)]
    blocks += [
        *glance_blocks(report),
        Heading("The claim" if len(headlines) == 1 else "The claims", "claims"),
        Text(_shared(headlines)),
        ClaimCards(tuple(card(report, c) for c in headlines)),
        Bullets(_makings(report, headlines)),
    ]
    if len(claims) > 1:
        blocks += [Heading("All claims", "all-claims", 3), claims_table(report, claims)]
    return blocks


def _opening(report: ReportInput) -> str:
    """Registered when, in what state the run was, how many claims, and what became of them."""
    count = counted(len(report.claims), "claim")
    if report.prediction is None:
        return f"{count} forecast, none of them registered: nothing proves yet that they were made before the run."
    state = report.prediction.run_state
    when = f" on {moment(report.receipt.time)}" if report.receipt else ""
    before = "before the run had started" if state == NOT_STARTED else f"when the run was already {clean(state)}"
    entry = f", as ledger entry {report.receipt.entry_hash[:SHORT_HASH]}" if report.receipt else ""
    text = f"{count} registered{when}, {before}{entry}."
    if not report.scores:
        return f"{text} No outcome yet; to be resolved until {clean(report.prediction.until)}."
    refused = {c.id for c in report.claims if c.grade in (Grade.REFUSED, Grade.UNEARNED)}
    found = [f"{text} {len(report.scores)} of {len(report.claims)} resolved."]
    for name, chosen in (
        ("supported by the data", [s for s in report.scores if s.claim not in refused]),
        ("refused and kept as UNEARNED", [s for s in report.scores if s.claim in refused]),
    ):
        if chosen:
            inside = {level: sum(s.hits.get(level, False) for s in chosen) for level in ("50", "90")}
            found.append(
                f"Of {len(chosen)} {name}, {inside['90']} lie inside their 90 % interval, {inside['50']} inside 50 %."
            )
    return " ".join(found)


def registration_warnings(report: ReportInput) -> list[str]:
    """What makes the claims worth less than they look."""
    found = []
    prediction = report.prediction
    if prediction:
        course = report.course and report.course.as_proven  # a report is checked by its proof alone
        found += [clean(label) for label in labels(prediction, report.resolution, course)]
    changed = [
        claim_name(report.claims, c)
        for c in (prediction.claims if prediction else ())
        if (f := report.forecast_of(c)) and f.draws_digest != c.draws_digest
    ]
    if changed:
        found.append(f"The forecast drawn below is not the one that was registered: {listed(map(clean, changed))}.")
    if report.receipt and report.outcome_receipt and report.outcome_receipt.seq <= report.receipt.seq:
        found.append("The outcome stands before the prediction in the ledger.")
    return found


def card(report: ReportInput, claim: Claim) -> ClaimCard:
    """One headline claim: number, intervals, how far beyond the data, grade; then what was measured."""
    digits = claim_places(claim)
    facts = [(f"{100 * level:.0f} %", span(*claim.interval(level), digits)) for level in (0.5, 0.9)]
    if claim.threshold is not None:
        above = chance(1 - claim.distribution.cdf(claim.threshold))
        facts.append((f"chance above {number(claim.threshold)}", above))
    facts.append(("made by", kind_of(claim)))
    outcome, verdict, tone = _outcome(report, claim, digits)
    return ClaimCard(
        title=clean(claim_title(report.claims, claim)),
        value=fixed(claim.median, digits),
        sentence=_sentence(report.headlines, claim),
        grade=f"{claim.grade}: not earned" if claim.grade in (Grade.REFUSED, Grade.UNEARNED) else str(claim.grade),
        facts=tuple(facts),
        outcome=outcome,
        verdict=verdict,
        tone=tone,
    )


def _shared(claims: Sequence[Claim]) -> str:
    """What the cards need not repeat: where, how far beyond the data, how far tested; what the two intervals are."""
    same = "Median, central 50 % and 90 % interval of what one run will measure"
    where = dict.fromkeys(_where(c) for c in claims)
    return f"{same}, {next(iter(where))}." if len(where) == 1 else f"{same}."


def _where(claim: Claim) -> str:
    """'at 6e12 FLOP, 97x beyond the data, back-tested to 5.4x'"""
    tested = f"back-tested to {times(claim.earned_factor)}" if claim.earned_factor else "not back-tested"
    return f"at {compute(claim.target)}, {times(claim.factor)} beyond the data, {tested}"


def _sentence(claims: Sequence[Claim], claim: Claim) -> str:
    """The unit; where it is claimed, if the cards differ in that: 'nats per token, at 6e12 FLOP, ...'"""
    apart = len({_where(c) for c in claims}) > 1
    return ", ".join(filter(None, [metric_named(claim.subject.metric).unit, _where(claim) if apart else ""]))


def _makings(report: ReportInput, claims: Sequence[Claim]) -> tuple[str, ...]:
    """Each way in which the headlines were made, once, with the claims that were made so."""
    found: dict[str, list[str]] = {}
    for claim in claims:
        found.setdefault(made_by(claim), []).append(clean(claim_name(report.claims, claim)))
    return tuple(f"Made by {how} ({listed(names)})." for how, names in found.items())


def _outcome(report: ReportInput, claim: Claim, digits: int) -> tuple[str, str, str]:
    value, s = report.measured(claim), report.score_of(claim)
    if value is None:
        return "", "", "open"
    error = f"median off by {value_error(claim, value)}"
    if s is None:
        return fixed(value, digits), error, "open"
    where = f"outside the {HITS[-1]} % interval" if narrowest(s) == "none" else f"inside the {narrowest(s)} interval"
    return fixed(value, digits), f"{where}, {error}", "good" if s.hits.get("90") else "bad"


def narrowest(s: Score) -> str:
    """The narrowest central interval that holds the outcome: '50 %', or 'none'."""
    return next((f"{level} %" for level in HITS if s.hits.get(level)), "none")


def claim_places(claim: Claim) -> int:
    """Decimals of a claim's numbers: what half of the 50 % interval earns."""
    return places(*claim.interval(0.5))


def value_error(claim: Claim, value: float) -> str:
    """Relative error of the median, in percent of what was measured."""
    return percent(claim.median / value - 1, signed=True) if value else MISSING


def claims_table(report: ReportInput, claims: Sequence[Claim]) -> Table:
    """Every claim in a row. What all rows share (target, distance) stands in the caption."""
    resolved = any(report.measured(c) is not None for c in claims)
    apart = len({(c.target, c.factor) for c in claims}) > 1
    headers = ["claim", *(("at", "beyond") if apart else ()), "grade", "median", "50 %", "90 %"]
    headers += ["measured", "error", "inside", "CRPS", "best baseline"] if resolved else []
    rows, tones = [], []
    for c in claims:
        digits, s = claim_places(c), report.score_of(c)
        where = [compute(c.target), times(c.factor)] if apart else []
        cells = [fixed(c.median, digits), span(*c.interval(0.5), digits), span(*c.interval(0.9), digits)]
        cells += _result_cells(report, c, s, digits) if resolved else []
        rows.append([clean(claim_name(claims, c)), *where, str(c.grade), *cells])
        tones.append("" if s is None else "good" if s.hits.get("90") else "bad")
    first = claims[0]
    caption = "" if apart else f"All at {compute(first.target)}, {times(first.factor)} beyond the data. "
    if resolved:
        caption += "inside: the narrowest of the central 50, 80, 90 and 95 % intervals that holds what was measured."
    return Table.of(headers, rows, tones=tones, caption=caption.strip())


def claim_name(claims: Sequence[Claim], claim: Claim) -> str:
    """The subject's label; with what sets it apart where several claims speak of the same subject."""
    return name_of(claim, claims)


def claim_title(claims: Sequence[Claim], claim: Claim) -> str:
    """The user's own words; with what sets it apart where another claim has the same."""
    if [c.text for c in claims].count(claim.text) < 2:
        return claim.text
    name = claim_name(claims, claim)
    if claim.text == claim.subject.label:
        return name
    return f"{claim.text}: {name}"


def _result_cells(report: ReportInput, claim: Claim, s: Score | None, digits: int) -> list[str]:
    value = report.measured(claim)
    if value is None or s is None:
        return [MISSING if value is None else fixed(value, digits), *[MISSING] * 4]
    best = min(s.baselines.values(), default=None)
    return [fixed(value, digits), value_error(claim, value), narrowest(s), significant(s.crps, 2), significant(best, 2)]


def score_blocks(report: ReportInput) -> list[Block]:
    """Scores against simple methods: the baselines forecast a point, so their CRPS is their absolute error."""
    if not report.scores:
        return []
    claims = {c.id: c for c in report.claims}
    names = sorted({n for s in report.scores for n in s.baselines})
    rows, tones = [], []
    for s in sorted(report.scores, key=lambda s: order_of(claims[s.claim].subject) if s.claim in claims else (9,)):
        label = claim_name(list(claims.values()), claims[s.claim]) if s.claim in claims else s.claim
        better = sum(s.beats.values())
        shown = [significant(s.crps, 2), *(significant(s.baselines.get(n), 2) for n in names)]
        rows.append(
            [label, *shown, f"{better} of {len(s.baselines)}", significant(s.log_score, 2), significant(s.pit, 2)]
        )
        tones.append("" if not s.baselines else "good" if better == len(s.baselines) else "bad")
    headers = ["claim", "CRPS", *names, "beats", "log score", "PIT"]
    won, asked = sum(sum(s.beats.values()) for s in report.scores), sum(len(s.baselines) for s in report.scores)
    return [
        Heading("Scores against baselines", "scores"),
        Text(
            f"The forecast has the lower CRPS in {won} of {asked} comparisons. CRPS has the metric's own unit; lower "
            "is better. The CRPS of a baseline that forecasts one number is its absolute error. PIT is the probability "
            "that the forecast gave to values below the outcome: near 0 or 1 means surprise."
        ),
        Table.of(headers, rows, tones=tones),
    ]
