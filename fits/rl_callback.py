"""A callback for a transformers or TRL trainer: prints the forecast of the run's own end while it trains.

This is the one place of this room that imports transformers, and it does so only when it is called: in a process that
trains already. It cannot stand in `sweeps`, which must not know `fits`; nothing else here may load torch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fits.rl_curves import watch
from scaling.errors import InputError, ScalingError
from scaling.trajectories import RunForecast

EVERY, FIRST = 10, 10


def callback(
    metric: str | None = None,
    *,
    every: int = EVERY,
    first: int = FIRST,
    show: Callable[[str], Any] = print,
    **options: Any,
) -> Any:
    """A transformers TrainerCallback that shows the forecast of the run's end, from `first` rows with the metric on, at
    every `every`-th of them. `metric`: as the trainer logs it (default: "reward" and its like); `options`: of
    fits.watch, such as low and high, the metric's range. Its `forecasts` holds what it has shown.

    It never stops a run: what cannot be forecast is said once. Only the main process shows anything.

        >>> trainer = GRPOTrainer(..., callbacks=[fits.callback(high=2.0)])
    """
    if every < 1 or first < 1:
        raise InputError(f"every {every} and first {first} are numbers of log rows", "1 or more")
    from transformers import TrainerCallback

    class Watch(TrainerCallback):
        def __init__(self) -> None:
            self.forecasts: list[RunForecast] = []
            self.said: set[str] = set()

        def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            rows = state.log_history
            if not state.is_world_process_zero or state.max_steps <= 0:
                return
            try:
                name = metric or _reward(rows)
                told = sum(name in row for row in rows)
                if name not in (rows[-1] if rows else {}) or told < first or (told - first) % every:
                    return
                found = watch(rows, end=float(state.max_steps), metric=name, **options)
            except Exception as error:  # whatever it is, training goes on
                self._once(str(error) if isinstance(error, ScalingError) else f"no forecast: {error!r}")
                return
            self.forecasts.append(found)
            show(str(found))
            for warning in found.warnings:
                self._once(warning)

        def _once(self, text: str) -> None:
            kind = text[:40]
            if kind not in self.said:
                self.said.add(kind)
                show(text)

    return Watch()


def _reward(rows: list[dict[str, Any]]) -> str:
    """The usual name that these rows hold; one that no row holds where there is none."""
    from fits.trajectories import METRICS

    return next((name for name in METRICS if any(name in row for row in rows)), METRICS[1])
