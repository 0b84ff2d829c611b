"""Observations: what was measured, at which inputs, with which error. The table every fit starts from.

One row is one measured value of one metric of one run:

    id, trial, base_trial, stage, metric, protocol, bucket, value, se, se_kind, final, at, then the inputs (C, N, D ...)

`protocol` is the digest of problem set, decoding and samples: values of different protocols are different metrics.
`se` is a standard error, or missing; a declared error of 0 is refused. `se_kind` says what it covers:

    "problems"  choice of problems, on a problem set that rows of one protocol share (so it cancels between them)
    "sampling"  samples on fixed problems       "declared"  the user's own column
    "none"      nothing known: noise is estimated from the scatter and said so

Per-problem results (`problems`: observation, problem, bucket, n, c, p) travel beside the rows they belong to.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from scaling.errors import InputError
from scaling.gates import Gate, read_gates
from scaling.metrics import metric as metric_named
from scaling.records import assembled, canonical, canonical_column, canonical_rows, parse
from scaling.units import COMPUTE_COLUMNS, UNITS

if TYPE_CHECKING:  # tables need it; a worker, which only writes rows, does not wait for it
    import pandas as pd

VERSION = 1
KEYS = ("id", "trial", "base_trial", "stage", "metric", "protocol", "bucket", "value", "se", "se_kind", "final", "at")
PROBLEM_KEYS = ("observation", "problem", "bucket", "n", "c", "p")
SE_KINDS = ("problems", "sampling", "declared", "none")
OVERALL = "all"
CHUNK = 50_000  # rows digested at a time


@dataclass(frozen=True)
class Observation:
    """One row, on its way into a file. `inputs` are in base units; `problems` maps column -> list, or is missing."""

    id: str
    trial: str
    base_trial: str
    stage: str
    metric: str
    protocol: str
    value: float
    inputs: Mapping[str, float]
    bucket: str = OVERALL
    se: float | None = None
    se_kind: str = "none"
    final: bool = True
    at: int | None = None
    problems: Mapping[str, Sequence[Any]] | None = None
    compute_definition: str = "unstated"
    v: int = VERSION

    def __post_init__(self) -> None:
        where = f"observation {self.id}"
        metric_named(self.metric).check(self.value, where)
        if self.se is not None and not (math.isfinite(self.se) and self.se > 0):
            raise InputError(
                f"{where}: standard error {self.se!r} is not a positive number", "leave it out where it is not known"
            )
        if self.se_kind not in SE_KINDS:
            raise InputError(f"{where}: se_kind {self.se_kind!r} is none of {', '.join(SE_KINDS)}")
        if not isinstance(self.inputs, Mapping):
            raise InputError(f"{where}: inputs is not a mapping of names to numbers")
        for name, value in self.inputs.items():
            if not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
                raise InputError(f"{where}: input {name} is {value!r:.40}")
            if name in COMPUTE_COLUMNS and name != "C_rl" and value == 0:
                raise InputError(f"{where}: {name} is 0", "a run costs something")
        columns = list((self.problems or {}).values())
        if len({len(c) for c in columns}) > 1:
            raise InputError(f"{where}: the columns of its problems differ in length")

    def line(self) -> bytes:
        """The row as one line of an `observations.jsonl`."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        if not self.problems:
            return canonical(fields) + b"\n"
        columns = {str(name): canonical_column(values) for name, values in fields.pop("problems").items()}
        members = {name: canonical(value) for name, value in fields.items()}
        return assembled({**members, "problems": assembled(columns)}) + b"\n"

    @classmethod
    def from_line(cls, line: bytes, where: str) -> Observation:
        body = parse(line, what=where)
        try:
            if body["v"] != VERSION:
                raise InputError(f"{where}: version {body['v']!r}, this program reads {VERSION}")
            return cls(**body)
        except (KeyError, TypeError) as error:
            raise InputError(f"{where} is not an observation: {error}") from None


@dataclass(frozen=True)
class Observations:
    """A validated table. `axis` is the compute column that plays C in a law; `dropped` keeps (row, reason code);
    `gates` are those of the project that the rows are from: every forecast from them carries them."""

    frame: pd.DataFrame
    problems: pd.DataFrame | None = None
    axis: str = "C"
    compute_definition: str = "unstated"
    sources: Mapping[str, str] = field(default_factory=dict)  # path -> SHA-256
    dropped: tuple[tuple[str, str], ...] = ()
    gates: tuple[Gate, ...] = ()

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def inputs(self) -> list[str]:
        return [c for c in self.frame.columns if c not in KEYS]

    @property
    def x(self) -> np.ndarray:
        """The column that is the axis; NaN where a row has none."""
        if self.axis not in self.inputs:
            raise InputError(f"there is no compute column {self.axis!r}", f"inputs: {', '.join(self.inputs)}")
        return self.frame[self.axis].to_numpy(float)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the rows, sorted, so that order does not matter."""
        rows = self.frame.sort_values("id")
        found = hashlib.sha256()
        for first in range(0, len(rows), CHUNK):
            part = rows.iloc[first : first + CHUNK]
            lines = canonical_rows({str(name): _known(column) for name, column in part.items()})
            found.update((b"\n" if first else b"") + b"\n".join(lines))
        return found.hexdigest()

    @classmethod
    def of(
        cls,
        rows: Iterable[Observation],
        *,
        axis: str | None = None,
        sources: Mapping[str, str] | None = None,
        dropped: Iterable[tuple[str, str]] = (),
    ) -> Observations:
        """Build the table; mixing compute definitions, or one id with two contents, is an error."""
        seen: dict[str, Observation] = {}
        for row in rows:
            if row.id in seen and seen[row.id].line() != row.line():
                raise InputError(f"observation {row.id} stands twice with different content")
            seen[row.id] = row
        if not seen:
            raise InputError("no observations found", "a failed or unfinished trial gives none")
        import pandas as pd

        definitions = {row.compute_definition for row in seen.values()}
        if len(definitions) > 1:
            raise InputError(
                f"compute is counted in different ways: {', '.join(sorted(definitions))}",
                "fit them apart, or convert one of them",
            )
        names = sorted({name for row in seen.values() for name in row.inputs})
        frame = pd.DataFrame(
            [
                {**{k: getattr(row, k) for k in KEYS}, **{n: row.inputs.get(n, math.nan) for n in names}}
                for row in seen.values()
            ]
        )
        frame[["value", "se", *names]] = frame[["value", "se", *names]].astype(float)
        tables = [
            pd.DataFrame({"observation": row.id, **{k: list(v) for k, v in row.problems.items()}})
            for row in seen.values()
            if row.problems
        ]
        return cls(
            frame=frame,
            problems=pd.concat(tables, ignore_index=True) if tables else None,
            axis=axis or _axis(names),
            compute_definition=definitions.pop(),
            sources=dict(sources or {}),
            dropped=tuple(dropped),
        )

    @classmethod
    def read(
        cls, path: str | Path, *, metric: str | None = None, roles: Collection[str] = (), **where: Any
    ) -> Observations:
        """A folder of trials (`runs/`, and gates.json beside it), an `observations.jsonl`, or a CSV; then `select`.

        Of a folder's trials with a role only those of `roles` are read: the others are no points of its ladder.
        """
        from scaling.readers import read_csv, read_runs  # the readers know this module

        path = Path(path)
        if not path.exists():
            raise InputError(f"{path} does not exist", "give a folder of trials or a CSV file")
        csv = path.is_file() and path.suffix != ".jsonl"
        table = read_csv(path, metric=metric) if csv else read_runs(path, roles=roles)
        table = replace(table, gates=tuple(read_gates(path))) if path.is_dir() else table
        return table.select(metric=metric, **where) if metric or where else table

    def select(self, **where: Any) -> Observations:
        """Rows whose columns equal the given values (None = any). Nothing left is an error that names what there is."""
        keep = np.ones(len(self.frame), bool)
        for column, value in where.items():
            if value is None:
                continue
            if column not in self.frame.columns:
                raise InputError(f"there is no column {column!r}", f"columns: {', '.join(self.frame.columns)}")
            matches = (self.frame[column] == value).to_numpy(bool)
            if not (keep & matches).any():
                found = ", ".join(sorted({str(v) for v in self.frame.loc[keep, column]}))
                raise InputError(f"no observations with {column} = {value!r}", f"there are: {found}")
            keep &= matches
        return self._rows(self.frame[keep])

    def below(self, x: float) -> Observations:
        """Rows cheaper than `x` on the axis: all that a forecast at `x` may use. The others count as dropped."""
        beyond = self.x >= x * (1 - 1e-9)
        if beyond.all():
            raise InputError(f"every run costs at least the target's {x:.3g}", "a forecast needs cheaper runs")
        return self.without(beyond, "at or beyond the target") if beyond.any() else self

    def with_base_loss(self) -> Observations:
        """The table with one more input, `loss`: the final loss that each row's base trial measured (NaN: none did).

        Where a base trial measured its loss under several protocols, nobody can say which one is meant: NaN.
        """
        keep = (self.frame["metric"] == "loss") & (self.frame["bucket"] == OVERALL) & self.frame["final"].astype(bool)
        losses = self.frame[keep & (self.frame["trial"] == self.frame["base_trial"])]
        losses = losses[~losses["base_trial"].duplicated(keep=False)]
        found = self.frame["base_trial"].map(losses.set_index("base_trial")["value"])
        return replace(self, frame=self.frame.assign(loss=self._loss_at_own_end(found)))

    def _loss_at_own_end(self, loss: pd.Series) -> pd.Series:
        """A base trial that was gone on with has several losses: a row has that of its own C_pre."""
        import pandas as pd

        f = self.frame
        ends = f[(f["metric"] == "loss") & (f["bucket"] == OVERALL) & (f["trial"] == f["base_trial"])]
        several = f["base_trial"].isin(ends.loc[~ends["final"].astype(bool), "base_trial"])
        if "C_pre" not in f or not several.any():
            return loss
        keys = ["base_trial", "C_pre"]
        at = ends[~ends.duplicated(keys, keep=False)].set_index(keys)["value"]
        own = at.reindex(pd.MultiIndex.from_frame(f[keys])).to_numpy(float)
        return loss.where(~several, pd.Series(own, index=f.index))

    def without(self, drop: np.ndarray, reason: str) -> Observations:
        """Leave rows out, keeping their ids and the reason code."""
        gone = tuple((str(i), reason) for i in self.frame.loc[drop, "id"])
        return replace(self._rows(self.frame[~drop]), dropped=self.dropped + gone)

    def one_metric(self) -> tuple[str, str, str, str]:
        """(metric, stage, bucket, protocol) of a table with just one of each; otherwise an error that lists them."""
        found = []
        for column in ("metric", "stage", "bucket", "protocol"):
            values = sorted(map(str, self.frame[column].unique()))
            if len(values) > 1:
                raise InputError(
                    f"the table holds several values of {column}: {', '.join(values)}",
                    f"select one, for example {column}={values[0]!r}",
                )
            found.append(values[0])
        return found[0], found[1], found[2], found[3]

    def clusters(self) -> np.ndarray:
        """Index of the base trial of each row: the unit of resampling (its RL children move with it)."""
        return np.unique(self.frame["base_trial"].to_numpy(str), return_inverse=True)[1]

    def _rows(self, frame: pd.DataFrame) -> Observations:
        frame = frame.reset_index(drop=True)
        problems = self.problems
        if problems is not None:
            problems = problems[problems["observation"].isin(set(frame["id"]))].reset_index(drop=True)
        return replace(self, frame=frame, problems=problems)


def unit_of(column: str) -> str:
    return UNITS.get(column, "")


def _axis(names: Sequence[str]) -> str:
    for name in ("C", "C_pre", "C_total", "C_rl"):
        if name in names:
            return name
    if len(names) == 1:
        return names[0]
    raise InputError(
        "there is no compute column", f"name one of {', '.join(COMPUTE_COLUMNS)}; columns: {', '.join(names)}"
    )


def _known(column: pd.Series) -> list[Any]:
    """The values of a column, None where one is missing."""
    return [None if gone else value for value, gone in zip(column.tolist(), column.isna(), strict=True)]
