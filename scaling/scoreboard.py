"""How predictions turned out, over one ledger or several: every one is listed, none is left out.

Three groups are kept apart. `earned`: forecasts that were EARNED or EXTENDED, entered before their run. `unearned`:
those that had been refused and were entered to see how they turn out. `late`: entered when the run had started or
finished, of whatever grade. Claims of one run are not independent: errors of means go by run,

    se = sqrt(G / (G - 1)) / n  sqrt(sum over runs g of (sum over claims i of g of (x_i - mean))^2),

n claims of G runs (Liang and Zeger 1986, for a mean). With one run there is no such error.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scaling.errors import InputError
from scaling.fitted import Grade
from scaling.metrics import metric as metric_named
from scaling.predictions import NOT_STARTED, Claim, check_deadline
from scaling.scoring import HIT_LEVELS, Score
from scaling.units import format_value

if TYPE_CHECKING:
    from scaling.registry.ledger import Ledger
    from scaling.registry.standing import Record, Sealed

EARNED, UNEARNED, LATE = "earned", "unearned", "late"
GROUPS = (EARNED, UNEARNED, LATE)
SAYS = {
    EARNED: "EARNED and EXTENDED forecasts, entered before their run",
    UNEARNED: "refused forecasts, entered to see how they turn out",
    LATE: "entered after their run had started",
}
EXPIRED, NOT_SCORABLE = "expired", "not scorable"
BINS = 10


@dataclass(frozen=True)
class Mean:
    """A mean with its standard error by run (None: of one run nothing is known), over n values of `runs` runs."""

    value: float
    se: float | None
    n: int
    runs: int

    @classmethod
    def of(cls, values: Sequence[float], runs: Sequence[str]) -> Mean:
        middle = math.fsum(values) / len(values)
        sums: dict[str, float] = {}
        for value, run in zip(values, runs, strict=True):
            sums[run] = sums.get(run, 0.0) + value - middle
        count = len(sums)
        spread = math.sqrt(math.fsum(s * s for s in sums.values())) / len(values)
        return cls(middle, math.sqrt(count / (count - 1)) * spread if count > 1 else None, len(values), count)

    def __str__(self) -> str:
        if self.se is None:
            return f"{self.value:.3g} (error unknown: one run)"
        return format_value(self.value, self.se)


@dataclass(frozen=True)
class Turned:
    """One resolved claim with its score. `run` is the prediction that it belongs to."""

    run: str
    claim: Claim
    score: Score
    n: int | None
    se: float | None
    late: bool
    bound: bool

    @property
    def group(self) -> str:
        return LATE if self.late else UNEARNED if self.claim.grade in (Grade.UNEARNED, Grade.REFUSED) else EARNED

    @property
    def metric(self) -> str:
        return self.claim.subject.metric


@dataclass(frozen=True)
class Row:
    """One prediction as it stands. `remarks` say what must be read beside its numbers."""

    ledger: str
    seq: int
    hash: str
    title: str
    until: str
    state: str
    claims: int | None  # None: under embargo
    unearned: int | None
    turned: tuple[Turned, ...]
    remarks: tuple[str, ...]

    @property
    def hits(self) -> str:
        return f"{sum(t.score.hits['90'] for t in self.turned)} of {len(self.turned)}" if self.turned else ""


@dataclass(frozen=True)
class Calibration:
    """Outcomes inside the central interval of a level. `error`: binomial, of the rate if the level were true."""

    level: float
    hits: int
    n: int
    by_run: Mean

    @property
    def rate(self) -> float:
        return self.hits / self.n

    @property
    def error(self) -> float:
        return math.sqrt(self.level * (1 - self.level) / self.n)


@dataclass(frozen=True)
class Comparison:
    """Against a baseline, over the claims that state it: mean of (baseline's score - forecast's), positive where the
    forecast is better, with its paired error; and in how many the forecast was better."""

    baseline: str
    crps: Mean
    wis: Mean
    better: int


@dataclass(frozen=True)
class MetricScores:
    """Mean scores of the claims about one metric, in its unit. `no_density`: outcomes with an infinite log score, which
    the mean of the others (None: there are none) leaves out."""

    metric: str
    unit: str
    crps: Mean
    wis: Mean
    log_score: Mean | None
    no_density: int
    against: tuple[Comparison, ...]


@dataclass(frozen=True)
class Group:
    name: str
    claims: int
    runs: int
    unbound: int
    calibration: tuple[Calibration, ...]
    pit: tuple[int, ...]  # counts in BINS equal bins of 0 .. 1
    scores: tuple[MetricScores, ...]


@dataclass(frozen=True)
class Scoreboard:
    today: str
    rows: tuple[Row, ...]
    groups: tuple[Group, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Predictions by state."""
        states = [row.state for row in self.rows]
        return {state: states.count(state) for state in sorted(set(states))}


def scoreboard(ledgers: Iterable[Ledger], *, today: str | None = None) -> Scoreboard:
    """Every prediction of the (sound) ledgers, scored where any of them has its outcome. One that is met in several
    counts once, with all that they hold of it; where they disagree, a remark says so."""
    from scaling.registry import standing
    from scaling.registry.copies import unsigned

    date = today or dt.datetime.now(dt.UTC).date().isoformat()
    copies: dict[str, dict[str, Record | Sealed]] = {}
    bare: dict[str, list[str]] = {}
    for ledger in ledgers:
        periods = ledger.keyring().periods.values()
        since = min((period.since for period in periods), default=None)
        for one in standing.known(ledger):
            copies.setdefault(one.entry.hash, {})[str(ledger.folder)] = one
            bare.setdefault(one.entry.hash, []).extend(unsigned(one, since))
    rows = tuple(_merged(among, bare[name], date) for name, among in copies.items())
    turned = [t for row in rows for t in row.turned]
    groups = tuple(_group(name, found) for name in GROUPS if (found := [t for t in turned if t.group == name]))
    return Scoreboard(date, rows, groups)


def _merged(copies: Mapping[str, Record | Sealed], bare: Sequence[str], today: str) -> Row:
    from scaling.registry import standing
    from scaling.registry.copies import united

    one, disagreements = united(copies)
    ledger, said = " and ".join(copies), (*disagreements, *dict.fromkeys(bare))
    if isinstance(one, standing.Record):
        return _row(ledger, one, said, today)
    state = f"{EXPIRED}, {one.state}" if not one.withdrawn and _past(one.until, today) else one.state
    place, remarks = (ledger, one.entry.seq, one.entry.hash), (*one.remarks, *said)
    return Row(*place, "(under embargo)", one.until, state, None, None, (), remarks)


def _past(until: str, today: str) -> bool:
    """Whether a sealed deadline is over. One that is no date is: it would never be."""
    try:
        check_deadline(until)
    except InputError:
        return True
    return until < today


def _row(ledger: str, record: Record, said: Sequence[str], today: str) -> Row:
    prediction, resolution = record.prediction, record.resolution
    late = prediction.run_state != NOT_STARTED
    state, remarks = record.state, [*record.labels, *record.remarks, *said]
    turned: tuple[Turned, ...] = ()
    if resolution:
        try:
            by_id = {c.id: c for c in prediction.claims}
            turned = tuple(
                Turned(
                    record.entry.hash, by_id[s.claim], s, resolution.values[s.claim].n, resolution.values[s.claim].se,
                    late, resolution.bound,
                )
                for s in record.scores
            )  # fmt: skip
            missing = len(prediction.claims) - len(turned)
            remarks += [f"{missing} of {len(prediction.claims)} claims were never answered"] if missing else []
        except InputError as error:
            state, remarks = NOT_SCORABLE, [*remarks, error.message]
        if len(record.outcomes) > 1:
            remarks.append(f"{len(record.outcomes)} outcomes were entered: the first counts")
        if resolution.note:
            remarks.append(f"note: {resolution.note}")
    elif not record.withdrawn and prediction.until < today:
        state = f"{EXPIRED}, {state}" if record.starts else EXPIRED
    unearned = sum(c.grade in (Grade.UNEARNED, Grade.REFUSED) for c in prediction.claims)
    return Row(
        ledger, record.entry.seq, record.entry.hash, prediction.title, prediction.until, state,
        len(prediction.claims), unearned, turned, tuple(remarks),
    )  # fmt: skip


def _group(name: str, turned: Sequence[Turned]) -> Group:
    runs = [t.run for t in turned]
    metrics = dict.fromkeys(t.metric for t in turned)
    pit = [0] * BINS
    for t in turned:
        pit[min(int(t.score.pit * BINS), BINS - 1)] += 1
    return Group(
        name,
        len(turned),
        len(set(runs)),
        sum(not t.bound for t in turned),
        tuple(_calibration(level, turned, runs) for level in HIT_LEVELS),
        tuple(pit),
        tuple(_scores(metric, [t for t in turned if t.metric == metric]) for metric in metrics),
    )


def _calibration(level: float, turned: Sequence[Turned], runs: Sequence[str]) -> Calibration:
    inside = [bool(t.score.hits[f"{100 * level:.0f}"]) for t in turned]
    return Calibration(level, sum(inside), len(inside), Mean.of([float(i) for i in inside], runs))


def _scores(metric: str, turned: Sequence[Turned]) -> MetricScores:
    runs = [t.run for t in turned]
    finite = [t for t in turned if math.isfinite(t.score.log_score)]
    names = dict.fromkeys(name for t in turned for name in t.score.baselines)
    return MetricScores(
        metric,
        metric_named(metric).unit,
        Mean.of([t.score.crps for t in turned], runs),
        Mean.of([t.score.wis for t in turned], runs),
        Mean.of([t.score.log_score for t in finite], [t.run for t in finite]) if finite else None,
        len(turned) - len(finite),
        tuple(_comparison(name, [t for t in turned if name in t.score.baselines]) for name in names),
    )


def _comparison(name: str, turned: Sequence[Turned]) -> Comparison:
    runs = [t.run for t in turned]
    crps = [t.score.baselines[name] - t.score.crps for t in turned]
    wis = [t.score.baselines_wis[name] - t.score.wis for t in turned]
    return Comparison(name, Mean.of(crps, runs), Mean.of(wis, runs), sum(d > 0 for d in crps))
