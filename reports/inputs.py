"""What a forecast report is made from: nouns of the ground floor, and a few plain facts around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scaling.fitted import LEVELS, BacktestRow, Fit, Forecast, Subject
from scaling.gates import Gate
from scaling.labels import Course
from scaling.observations import OVERALL, Observations
from scaling.predictions import Claim, Prediction, Question, Resolution
from scaling.registry.entries import Entry
from scaling.registry.proofs import Proven
from scaling.scoring import Score
from scaling.sensitivities import Sensitivities
from scaling.trajectories import Quantity, RunForecast, Trajectory


@dataclass(frozen=True)
class Receipt:
    """What the ledger gave back for one entry. `head` is the Merkle root, `size` the number of entries it covers."""

    entry_hash: str
    time: str
    seq: int
    head: str = ""
    size: int | None = None
    signed: bool = False

    @classmethod
    def of(cls, proven: Proven, entry: Entry) -> Receipt:
        """Of an entry that a proof holds."""
        signed = proven.signers[entry.hash] is not None
        return cls(entry.hash, entry.time, entry.seq, proven.head.root.hex(), proven.head.size, signed)


@dataclass(frozen=True, eq=False)
class RunLook:
    """One RL run with the forecasts of its own end by the share of its steps that each knew, and the quantiles of its
    level foretold over x_G, (LEVELS, G)."""

    name: str
    run: Trajectory
    forecasts: Mapping[float, RunForecast]
    x_G: np.ndarray
    bands_QG: np.ndarray

    def level(self, q: float) -> np.ndarray:
        """A quantile of the level over x_G."""
        return np.array([np.interp(q, LEVELS, column) for column in self.bands_QG.T])


@dataclass(frozen=True)
class RunScore:
    """The end of one RL run as foretold from a share of its steps by one method, and the end that came."""

    trial: str
    share: float
    method: str
    end: float
    foretold: Quantity


@dataclass(frozen=True)
class ReportInput:
    """Everything is optional but the title: a report shows what there is and says what is missing.

    `trials`      rows of the sweep: id, stage, rung, N, D, C_pre, C_rl, seed, state, reason, wall_s, executed_flop
    `costs`       numbers by name: spent_flop, target_flop, spent_executed_flop, target_executed_flop, spent_core_h,
                  target_core_h, spent_usd, target_usd (others are listed under their own name)
    `provenance`  commit, dirty, versions (mapping), data (mapping path -> digest), replay (command), seed, machine,
                  lock; others are listed under their own name
    `answers`     checklist items the other fields cannot answer, by key (see checklist.py)
    `gates`       checks on the ladder as they stand now; those of the prediction win
    `sensitivities`  the headline questions' forecasts under other choices, one table per question and law
    `rl_runs`     some RL runs, each foretold to its own end from its beginning
    `rl_scores`   how such forecasts did, by share and method, on these runs or on all of the project
    `run_names`   what a run is called, by trial id
    `proof`       the ledger's proof of the prediction, carried in the file for `scaling verify FILE`
    `course`      what the ledger says of the prediction's run; None: not known
    `made_at`     ISO time of the report, if one shall stand in it; the receipt's time otherwise
    """

    title: str
    observations: Observations | None = None
    fits: Sequence[Fit] = ()
    forecasts: Sequence[Forecast] = ()
    prediction: Prediction | None = None
    receipt: Receipt | None = None
    resolution: Resolution | None = None
    outcome_receipt: Receipt | None = None
    course: Course | None = None
    scores: Sequence[Score] = ()
    trials: Sequence[Mapping[str, Any]] = ()
    costs: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    backtests: Sequence[BacktestRow] = ()
    sensitivities: Sequence[Sensitivities] = ()
    gates: Sequence[Gate] = ()
    rl_runs: Sequence[RunLook] = ()
    rl_scores: Sequence[RunScore] = ()
    run_names: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    answers: Mapping[str, str] = field(default_factory=dict)
    proof: Mapping[str, Any] | None = None
    made_at: str = ""

    @property
    def claims(self) -> list[Claim]:
        """The registered claims; before registration, what the forecasts would claim."""
        if self.prediction:
            return list(self.prediction.claims)
        found: dict[str, Claim] = {}
        for f in self.forecasts:
            base = f"{f.subject.stage}.{f.subject.metric}.{f.subject.bucket}"
            name = base if base not in found else f"{base}.{f.law}"
            while name in found:
                name += "+"
            question = Question(text=f.subject.label, until="9999-12-31")
            found[name] = Claim.of(question, f, draws_blob="", identifier=name)
        return list(found.values())

    @property
    def headlines(self) -> list[Claim]:
        """Claims about the whole problem set; all of them if there are none such."""
        claims = self.claims
        return [c for c in claims if c.subject.bucket == OVERALL] or claims

    @property
    def known_gates(self) -> Sequence[Gate]:
        """Those of the prediction, else as they stand now."""
        return (self.prediction.gates if self.prediction else ()) or self.gates

    @property
    def shown_headlines(self) -> list[Claim]:
        """The headlines in reading order."""
        return sorted(self.headlines, key=lambda c: order_of(c.subject))

    def forecast_of(self, claim: Claim) -> Forecast | None:
        """The forecast that a claim was made from (same draws), else the first that speaks of the same thing."""
        same = [f for f in self.forecasts if f.subject == claim.subject]
        return next((f for f in same if f.draws_digest == claim.draws_digest), same[0] if same else None)

    def fit_of(self, forecast: Forecast) -> Fit | None:
        """The fit that a forecast was made from, else one of its law, else (a pool) the first of its subject."""
        named = next((f for f in self.fits if f.digest == forecast.fit_digest), None)
        same = [f for f in self.fits if f.subject == forecast.subject]
        return named or next((f for f in same if f.law == forecast.law), same[0] if same else None)

    def score_of(self, claim: Claim) -> Score | None:
        return next((s for s in self.scores if s.claim == claim.id), None)

    def measured(self, claim: Claim) -> float | None:
        """The outcome of a claim; a score speaks where the resolution itself was not passed."""
        if self.resolution and claim.id in self.resolution.values:
            return self.resolution.values[claim.id].value
        score = self.score_of(claim)
        return score.value if score else None


def order_of(subject: Subject) -> tuple[int, str, int, str]:
    """Reading order: loss first, then pass rates before and after RL, the whole set before its buckets."""
    metrics = {"loss": 0, "pass_rate": 1, "neg_log_pass": 2}
    stages = {"pretrain": 0, "rl": 1}
    bucket = "" if subject.bucket == OVERALL else subject.bucket
    return metrics.get(subject.metric, 3), subject.metric, stages.get(subject.stage, 2), bucket
