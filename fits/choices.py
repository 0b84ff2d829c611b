"""What every verb of this room reads: one table of runs, which part of it, and which law to fit."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from scaling.cli import note
from scaling.errors import InputError, NotEarned, ScalingError
from scaling.metrics import BETTER, METRICS, unknown_metrics

if TYPE_CHECKING:
    from scaling.laws import Law
    from scaling.observations import Observations

Made = TypeVar("Made")
Item = TypeVar("Item")


@dataclass(frozen=True)
class Choice:
    """The options that `choosing` gives a verb."""

    path: Path
    metric: str | None
    stage: str | None
    bucket: str | None
    law: str | None
    axis: str | None
    seed: int
    better: str | None
    told: set[str] = field(default_factory=set)  # metrics of which was said which way they are taken to get better

    @property
    def only(self) -> dict[str, str | None]:
        return {"metric": self.metric, "stage": self.stage, "bucket": self.bucket}

    def whole(self) -> Observations:
        """The table as it stands, on the chosen axis; of a CSV file, which may hold several, the chosen metric."""
        from scaling.observations import Observations

        return self._told(
            self._on_axis(Observations.read(self.path, metric=self.metric if self.path.is_file() else None))
        )

    def say_dropped(self, tables: Iterable[Observations]) -> None:
        """How many rows of the file were left out, and why: it says so once a verb. A folder's trials have states of
        their own."""
        dropped = {pair for one in tables for pair in one.dropped} if self.path.is_file() else set()
        for reason, count in Counter(reason for _, reason in sorted(dropped)).items():
            note(f"{self.path}: {count} row{'s' * (count > 1)} left out: {reason}")

    def subjects(self, *, roles: Collection[str] = ()) -> list[Observations]:
        """One table per stage, metric, bucket and protocol that was chosen; `roles`: see `Observations.read`."""
        from fits.estimate import subjects
        from scaling.observations import Observations

        found = subjects(self._told(self._on_axis(Observations.read(self.path, roles=roles, **self.only))))
        self.say_dropped(found)
        return found

    def _told(self, observations: Observations) -> Observations:
        self.tell(set(map(str, observations.frame["metric"])))
        return observations

    def tell(self, names: Iterable[str]) -> None:
        """No guess of which way a metric under the user's own name gets better passes in silence."""
        unknown = sorted(set(names) - set(METRICS) - self.told)
        self.told.update(unknown)
        if unknown and self.better is None:
            one = len(unknown) == 1
            what = "a metric that falls as it gets better" if one else "metrics that fall as they get better"
            note(f"{', '.join(unknown)}: taken for {what}; --better higher, if not")

    def law_of(self, one: Observations) -> Law:
        """The law that was named, or the default of the subject's metric."""
        from fits.estimate import default_law
        from scaling.laws import law_named

        return law_named(self.law) if self.law else default_law(one)

    def _on_axis(self, observations: Observations) -> Observations:
        return replace(observations, axis=self.axis) if self.axis else observations


def choosing(verb: Callable[..., Any]) -> Callable[..., Any]:
    """Give a verb the shared options, as one Choice in front of its own."""

    @functools.wraps(verb)
    def called(**given: Any) -> Any:
        choice = Choice(**{f.name: given.pop(f.name) for f in fields(Choice) if f.name in given})
        with unknown_metrics(choice.better or "lower"):
            return verb(choice, **given)

    for option in (
        click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of the random draws."),
        click.option("--better", type=click.Choice(BETTER), help="Which way metrics of your own names get better."),
        click.option("--axis", help="Compute column to fit against: C, C_pre, C_rl or C_total."),
        click.option("--law", help="Law to fit, by the name that `scaling laws` gives it.  [default: by metric]"),
        click.option("--bucket", help="Fit this bucket of problems only, e.g. all or 'depth 3'."),
        click.option("--stage", help="Fit this stage only: pretrain (before RL) or rl (after RL)."),
        click.option("--metric", help="Fit this metric only, e.g. loss, pass_rate, neg_log_pass."),
        click.argument("path", type=click.Path(path_type=Path)),
    ):
        called = option(called)
    return called


def each(
    items: Iterable[Item], make: Callable[[Item], Made], *, refusal: type[ScalingError] = NotEarned
) -> list[tuple[Item, Made]]:
    """`make` of every item, a table as a rule. A refusal (what the data do not support) is named on standard error; if
    there is nothing else, it is raised."""
    found: list[tuple[Item, Made]] = []
    refused: list[ScalingError] = []
    for one in items:
        try:
            found.append((one, make(one)))
        except refusal as error:
            refused.append(error)
    if not found:
        raise refused[0]
    for skipped in refused:
        note(str(skipped))
    return found


def compute_of(target: Path, stage: str, axis: str) -> float:
    """What the run that a target.json describes costs on an axis, at a stage."""
    from scaling.compute import inputs_of
    from scaling.records import parse
    from scaling.registry.binding import target_of

    specs = target_of(parse(target.read_bytes(), what=str(target)), where=str(target))
    if stage not in specs:
        raise InputError(f"{target} describes no {stage} run", "choose another --stage")
    inputs = inputs_of(specs[stage])
    if axis not in inputs:
        raise InputError(f"{target} says nothing of {axis}", f"axes it knows: {', '.join(inputs)}")
    return inputs[axis]
