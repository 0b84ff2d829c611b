"""The numbers of a fit, taken out of a table: inputs, values, errors, and who belongs together.

Rows of one base trial at one compute scale are ONE unit of evidence (they share its seed), however many they are.
Compute scales closer than 10 % count as the same scale: a ladder's rungs, whatever the rounding of their steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from scaling.errors import InputError, NotEarned
from scaling.fitted import FitStatus, Subject
from scaling.laws import Law
from scaling.metrics import laws_of
from scaling.observations import Observations
from scaling.units import format_compute

SAME_SCALE = 1.1
SMALLEST, LARGEST = 1e-50, 1e50  # of a value that is not 0: squares and products of such numbers stay finite
WIDEST = 1e40  # of an input's largest over its smallest


@dataclass(frozen=True)
class Points:
    """n rows, sorted by x. `inputs` by the law's symbol; `se` is NaN where no usable error was declared.

    `unit` numbers the (base trial, scale) pairs, `cluster` the base trials, `scale` the compute scales, all from 0.
    """

    subject: Subject
    inputs: Mapping[str, np.ndarray]
    x: np.ndarray
    value: np.ndarray
    se: np.ndarray
    trial: tuple[str, ...]
    base_trial: tuple[str, ...]
    weight: np.ndarray | None = None  # how much each row counts in the fit; None: all the same

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def cluster(self) -> np.ndarray:
        return pd.factorize(np.array(self.base_trial))[0]  # by first appearance: names do not change a draw

    @cached_property
    def scale(self) -> np.ndarray:
        return scales_of(self.x)

    @cached_property
    def unit(self) -> np.ndarray:
        return np.unique(self.cluster * len(self) + self.scale, return_inverse=True)[1]

    @property
    def n_scales(self) -> int:
        return int(self.scale.max()) + 1

    @property
    def n_units(self) -> int:
        return int(self.unit.max()) + 1

    @cached_property
    def share(self) -> np.ndarray:
        """Weight of a row within its unit, 1 / rows of the unit."""
        return 1.0 / np.bincount(self.unit)[self.unit]

    @cached_property
    def scale_x(self) -> np.ndarray:
        """Geometric mean of x at each scale."""
        return np.exp(self.means(np.log(self.x)))

    def means(self, z: np.ndarray) -> np.ndarray:
        """Mean of a row quantity at each scale, every unit counting once."""
        return np.bincount(self.scale, self.share * z) / np.bincount(self.scale, self.share)

    def columns(self) -> dict[str, list]:
        """What a Fit stores of its data."""
        return {
            "x": self.x.tolist(),
            "value": self.value.tolist(),
            "se": [s if s == s else None for s in self.se.tolist()],  # NaN is not itself
            "trial": list(self.trial),
            "base_trial": list(self.base_trial),
        }


def scales_of(x: np.ndarray) -> np.ndarray:
    """Number of the compute scale of each x: a new one starts 10 % above the first member of the last."""
    order = np.argsort(x, kind="stable")
    ordered, begins, at = x[order], np.zeros(len(x), bool), 0
    while at < len(x):
        begins[at] = True
        at = max(at + 1, int(np.searchsorted(ordered, ordered[at] * SAME_SCALE, side="right")))
    found = np.empty(len(x), int)
    found[order] = np.cumsum(begins) - 1
    return found


def final_rows(observations: Observations) -> Observations:
    """Finished runs with a known axis: the rows an across-run law may use; what is left out keeps its reason."""
    table = observations.without(~observations.frame["final"].to_numpy(bool), "not the end of a run")
    x = table.x
    table = table.without(~(np.isfinite(x) & (x > 0)), f"no {observations.axis}")
    if not len(table):
        raise InputError("no finished run is in the table", "laws across runs use rows with final = true")
    return table


def rows_of(observations: Observations) -> pd.DataFrame:
    """The rows of `final_rows`, in the order that Points have: sorted by content, so that neither the order of the rows
    nor the numbering of their ids changes a draw."""
    table = final_rows(observations)
    first = [table.axis, "value"]  # names decide between equal rows only
    ties = table.frame.duplicated(first).any()
    return table.frame.sort_values([*first, "base_trial", "trial"] if ties else first, kind="stable")


def points_of(law: Law, observations: Observations, *, weights: str = "") -> Points:
    """Rows of ONE metric, stage, bucket and protocol as arrays, checked against what the law can speak of."""
    metric, stage, bucket, protocol = observations.one_metric()
    if law.metrics and laws_of(metric) not in law.metrics:
        raise InputError(
            f"law {law.name} speaks of {', '.join(law.metrics)}, the observations are {metric}",
            "pass_rate and neg_log_pass are two metrics; choose the law of the metric, or `power` for any",
        )
    table = final_rows(observations)
    frame = rows_of(table)
    symbols = [str(i.symbol) for i in law.inputs]
    own = {s: table.axis if len(symbols) == 1 else s for s in symbols}
    columns = own | {str(i.symbol): i.column for i in law.inputs if i.column}
    missing = [c for c in columns.values() if c not in frame.columns]
    if missing:
        raise InputError(f"law {law.name} needs the input {missing[0]}", f"inputs: {', '.join(table.inputs)}")
    for column in ("value", *columns.values()):
        _check_range(frame[column].to_numpy(float), metric if column == "value" else column, column != "value")
    se = _usable_errors(frame)
    _check_range(se[np.isfinite(se)], "se", False)
    for column in columns.values():
        gone = int((~np.isfinite(frame[column].to_numpy(float))).sum())
        if gone:
            raise InputError(
                f"{gone} of {len(frame)} rows have no {column}", f"law {law.name} needs it: leave them out"
            )
    return Points(
        subject=Subject(metric, stage, bucket, protocol, table.axis, table.compute_definition),
        inputs={s: frame[c].to_numpy(float) for s, c in columns.items()},
        x=frame[table.axis].to_numpy(float),
        value=frame["value"].to_numpy(float),
        se=se,
        trial=tuple(frame["trial"].astype(str).tolist()),
        base_trial=tuple(frame["base_trial"].astype(str).tolist()),
        weight=_weights(frame, weights) if weights else None,
    )


def _weights(frame: pd.DataFrame, column: str) -> np.ndarray:
    if column not in frame.columns:
        raise InputError(f"there is no column {column!r} to weigh the rows by")
    found = frame[column].to_numpy(float)
    if not (np.all(np.isfinite(found)) and np.all(found >= 0) and np.any(found > 0)):
        raise InputError(f"{column} weighs the rows: 0 or more each, finite, and not all 0")
    return found


def _check_range(values: np.ndarray, name: str, is_input: bool) -> None:
    size = np.abs(values[values != 0])
    low, high = float(np.min(size, initial=math.inf)), float(np.max(size, initial=0.0))
    if is_input and high > low * WIDEST:
        raise InputError(
            f"{name} runs from {low:.3g} to {high:.3g}: more than {WIDEST:.0e}x, which no law spans",
            "is one of the rows in another unit?",
        )
    if not is_input and len(size) and not SMALLEST <= low <= high <= LARGEST:
        odd = low if low < SMALLEST else high
        raise InputError(
            f"{name} has a value of size {odd:.3g}: {SMALLEST:.0e} to {LARGEST:.0e} can be fitted",
            "check the column, or its unit",
        )


def on_axis(law: Law, axis: str) -> bool:
    """Is the law a function of the table's axis alone, so that an amount of compute is a place on it?"""
    return len(law.inputs) == 1 and law.inputs[0].column in ("", axis)


def axis_symbol(law: Law, axis: str) -> str:
    """The symbol that stands for the axis; InputError where the axis alone does not fix the law's value."""
    if not on_axis(law, axis):
        needs = ", ".join(i.column or str(i.symbol) for i in law.inputs)
        raise InputError(
            f"law {law.name} is a function of {needs}: {axis} alone does not fix its value",
            "of N and D: scaling surface; else read it off: law.value(fit.draws_SP, **inputs, **fit.references)",
        )
    return str(law.inputs[0].symbol)


def take(points: Points, keep: np.ndarray) -> Points:
    """The rows that a mask keeps."""
    at = np.flatnonzero(keep)
    return Points(
        subject=points.subject,
        inputs={k: v[at] for k, v in points.inputs.items()},
        x=points.x[at],
        value=points.value[at],
        se=points.se[at],
        trial=tuple(points.trial[i] for i in at),
        base_trial=tuple(points.base_trial[i] for i in at),
        weight=None if points.weight is None else points.weight[at],
    )


def check_enough(law: Law, points: Points, free: int | None = None) -> None:
    """Refuse fewer distinct scales than free parameters: such a law runs through any data."""
    needed, found = len(law.parameters) if free is None else free, points.n_scales
    if len(law.inputs) > 1:
        found = len(np.unique(np.round(np.log(np.column_stack(list(points.inputs.values()))), 9), axis=0))
    if found >= needed:
        return
    what = f"one compute scale only ({format_compute(points.x[0])})" if found == 1 else f"only {found} compute scales"
    raise NotEarned(
        f"{points.subject.label}: {what}; law {law.name} has {needed} parameters: "
        f"{FitStatus.TOO_FEW_POINTS} ({FitStatus.TOO_FEW_POINTS.says})",
        f"add runs until there are at least {max(needed, 4)} scales, spread over a factor of 30 or more",
    )


def _usable_errors(frame: pd.DataFrame) -> np.ndarray:
    """Declared and sampling errors. The choice of problems is shared by all rows of a protocol, so it cancels."""
    se = frame["se"].to_numpy(float)
    return np.where(frame["se_kind"].isin(["declared", "sampling"]), se, np.nan)
