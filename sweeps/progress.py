"""Progress of a sweep: live bars on a terminal, a plain line every few seconds elsewhere, or nothing.

Weights are expected seconds, so that the overall bar moves evenly although the last rung takes most of the time.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from scaling.cli import clean, note
from scaling.compute import inputs_of
from scaling.trials import TrialSpec, TrialState
from scaling.units import format_compute, format_duration
from sweeps.speed import expected_seconds

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

PLAIN_S = 5.0


class Progress(Protocol):
    """What the runner tells while a sweep is under way."""

    def __enter__(self) -> Progress: ...
    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None: ...
    def step(self, spec: TrialSpec, step: int) -> None: ...
    def ended(self, spec: TrialSpec, state: TrialState, reason: str) -> None: ...
    def say(self, text: str) -> None: ...


def choose(wanted: bool | Progress, specs: list[TrialSpec], done: list[TrialSpec], slots: int, device: str) -> Progress:
    """Bars on a terminal, lines elsewhere (True), or nothing (False); or the caller's own."""
    if not isinstance(wanted, bool):
        return wanted
    if not wanted:
        return Silent()
    tally = Tally(specs, done, slots, device)
    return Live(tally) if sys.stderr.isatty() else Plain(tally)


def title(spec: TrialSpec) -> str:
    """'pretrain d16  1.9e10 FLOP': what a person calls a trial. Its seed is one of 2^31, told by its id alone."""
    return f"{spec.stage:<8} d{spec.model.width:<3} {format_compute(inputs_of(spec)['C_pre']):<13}"


class Silent:
    """Says nothing."""

    def __enter__(self) -> Silent:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    def step(self, spec: TrialSpec, step: int) -> None:
        return None

    def ended(self, spec: TrialSpec, state: TrialState, reason: str) -> None:
        return None

    def say(self, text: str) -> None:
        return None


class Tally:
    """Expected seconds done and left, corrected by how fast this machine turned out to be.

    `before` is what is no work of this run: trials that had ended, and of a resumed one the steps already taken.
    """

    def __init__(self, specs: list[TrialSpec], done: list[TrialSpec], slots: int, device: str = "cpu") -> None:
        self.total, self.slots, self.begun = len(specs), slots, time.monotonic()
        self.weight = {spec.id: expected_seconds(spec, device) for spec in specs}
        self.share = {spec.id: 1.0 for spec in done}
        self.before = sum(self.weight[spec.id] for spec in done)
        self.states: Counter[str] = Counter()
        self.ended = len(done)

    def step(self, spec: TrialSpec, step: int) -> None:
        share = step / spec.steps
        if spec.id not in self.share:
            self.before += self.weight[spec.id] * share
        self.share[spec.id] = share

    def end(self, spec: TrialSpec, state: TrialState) -> None:
        self.share[spec.id] = 1.0
        self.ended += 1
        self.states[state] += 1

    @property
    def whole_s(self) -> float:
        return sum(self.weight.values())

    @property
    def done_s(self) -> float:
        return sum(self.weight[name] * share for name, share in self.share.items())

    @property
    def left_s(self) -> float:
        """Wall seconds left: by the plan at first, by the measured pace once a tenth of the plan is behind."""
        elapsed, gained = time.monotonic() - self.begun, self.done_s - self.before
        trust = min(1.0, gained / max(1e-9, 0.1 * (self.whole_s - self.before)))
        pace = elapsed / gained if gained > 0 else 0.0
        return (self.whole_s - self.done_s) * (trust * pace + (1 - trust) / self.slots)

    @property
    def failures(self) -> str:
        bad = [f"{count} {state}" for state, count in self.states.items() if state != TrialState.COMPLETE]
        return f", {', '.join(bad)}" if bad else ""


class Plain:
    """One line every few seconds, and one for every trial that did not complete."""

    def __init__(self, tally: Tally) -> None:
        self.tally, self.said = tally, time.monotonic()

    def __enter__(self) -> Plain:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None and self.tally.states:
            self._line(f"in {format_duration(time.monotonic() - self.tally.begun)}")

    def step(self, spec: TrialSpec, step: int) -> None:
        self.tally.step(spec, step)
        if time.monotonic() - self.said >= PLAIN_S:
            self._line(
                f"about {format_duration(self.tally.left_s)} left; {title(spec).strip()} step {step}/{spec.steps}"
            )

    def ended(self, spec: TrialSpec, state: TrialState, reason: str) -> None:
        self.tally.end(spec, state)
        if state is not TrialState.COMPLETE:
            self.say(f"{spec.id} {state}: {reason}")

    def say(self, text: str) -> None:
        note(text)

    def _line(self, rest: str) -> None:
        self.said, t = time.monotonic(), self.tally
        note(f"sweep: {t.ended}/{t.total} trials, {t.done_s / t.whole_s:.0%}{t.failures}, {rest}")


class Live:
    """rich's bars: the whole sweep, then every running trial."""

    def __init__(self, tally: Tally) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f} %"))
        self.tally, self.console = tally, Console(stderr=True)
        self.bars: Bars = Progress(*columns, TextColumn("{task.fields[rest]}"), console=self.console)
        self.rows: dict[str, Row] = {}

    def __enter__(self) -> Live:
        self.bars.start()
        self.overall = self.bars.add_task("sweep", total=self.tally.whole_s, rest="")
        self._refresh()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for row in self.rows.values():
            self.bars.remove_task(row.bar)
        self.bars.stop()

    def step(self, spec: TrialSpec, step: int) -> None:
        self.tally.step(spec, step)
        if spec.id not in self.rows:
            bar = self.bars.add_task(f"  {title(spec)}", total=spec.steps, rest="")
            self.rows[spec.id] = Row(bar, step, time.monotonic())
        row = self.rows[spec.id]
        self.bars.update(row.bar, completed=step, rest=row.pace(step, spec.steps))
        self._refresh()

    def ended(self, spec: TrialSpec, state: TrialState, reason: str) -> None:
        self.tally.end(spec, state)
        if spec.id in self.rows:
            self.bars.remove_task(self.rows.pop(spec.id).bar)
        if state is not TrialState.COMPLETE:
            self.say(f"{spec.id} {state}: {reason}")
        self._refresh()

    def say(self, text: str) -> None:
        self.console.print(clean(text), markup=False, highlight=False)

    def _refresh(self) -> None:
        t = self.tally
        rest = f"{t.ended}/{t.total} trials{t.failures}, about {format_duration(t.left_s)} left"
        self.bars.update(self.overall, completed=t.done_s, rest=rest)


@dataclass(frozen=True)
class Row:
    """The bar of a running trial, and where and when this run of it was first heard of."""

    bar: TaskID
    first: int
    begun: float

    def pace(self, step: int, steps: int) -> str:
        gained, seconds = step - self.first, time.monotonic() - self.begun
        if gained <= 0 or seconds <= 0:
            return ""
        return f"{gained / seconds:.0f} steps/s, {format_duration((steps - step) * seconds / gained)} left"
