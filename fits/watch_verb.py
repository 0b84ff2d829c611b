"""The verb `watch`: the forecast of a run's own end from its log so far."""

from __future__ import annotations

from pathlib import Path

import click

from scaling.cli import emit, json_option, note, output_option


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--end", type=float, metavar="STEPS", help="Where the run ends.  [default: as the log's folder says]")
@click.option("--metric", help="Column of the metric.  [default: reward_mean, reward, pass_rate and their like]")
@click.option("--axis", help="Column of the place.  [default: step and its like]")
@click.option("--low", type=float, default=0.0, show_default=True, help="Smallest value the metric can take.")
@click.option("--high", type=float, default=1.0, show_default=True, help="Largest value the metric can take.")
@click.option("--start", type=float, help="The metric before training, where it was measured.  [default: unknown]")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the draws.")
@json_option
@output_option
def watch(
    path: Path,
    end: float | None,
    metric: str | None,
    axis: str | None,
    low: float,
    high: float,
    start: float | None,
    seed: int,
    as_json: bool,
    output: Path | None,
) -> None:
    """Foretell the end of one RL run from its log so far, with the gain that is still to come.

    PATH is a trial's folder (forecast/runs/ID), its steps.jsonl, the trainer_state.json of transformers or TRL (or its
    folder), or a CSV with the columns step and reward. Three saturating laws (sigmoid, exponential, a late power law)
    are averaged, with room for how they are all wrong and with autocorrelated noise.

    `now` is the level with the noise of single rows taken out; `at the end` is the mean of the run's last twentieth, as
    it will be measured. An asymptote is NOT_IDENTIFIED until the run is well past the middle of its rise: the estimate
    is printed, and it should not be relied on. The same holds for the end of a run whose rise may lie mostly ahead: its
    interval then reaches from no further rise to most of what is left.

    \b
    scaling watch forecast/runs/3f9c0a1b-s1
    scaling watch outputs/checkpoint-200 --end 1000
    scaling watch log.csv --end 1000 --metric accuracy_reward --high 2 --json
    """
    from fits.rl_curves import watch as watched

    found = watched(path, end, metric=metric, axis=axis, low=low, high=high, start=start, seed=seed)
    emit({**found.to_json(), "warnings": found.warnings}, lambda: str(found), as_json=as_json, output=output)
    for warning in found.warnings:
        note(warning)
