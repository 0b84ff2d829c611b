"""From files to Observations: a folder of trials, and a CSV of one's own points.

Three forms of CSV, recognised by their columns (more input columns such as N, D may stand beside C):

    C, loss[, se]                       any metric may take the place of loss; a header `C [PF-day]` states a unit
    C, problem, n, c[, bucket]          passes per problem: pass_rate and neg_log_pass, overall and per bucket
    C, passes, problems                 aggregates: pass_rate only

`C` without a unit is FLOP, as the field writes it; a table with N and D may leave it out: C = 6 N D. Their headers may
state a prefix, as in `N [M]`, `D [B]`. Optional columns: `trial`, `seed`, `bucket`, `stage`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scaling.compute import SIX_ND, six_nd
from scaling.errors import InputError, StoreError
from scaling.metrics import METRICS, neg_log_pass_of_counts
from scaling.metrics import metric as metric_named
from scaling.observations import OVERALL, Observation, Observations
from scaling.records import digest, file_digest, sha256
from scaling.results import read_result
from scaling.units import COMPUTE_COLUMNS, UNITS, per_unit

MAX_ROWS = 5_000_000
UNSTATED = "unstated"
LEAST_SIZE = 1e4  # parameters: a table whose largest model is smaller counts in thousands or millions
LEAST_FLOP = 1e6  # a training run below this is a slip of the unit
LABELS = ("trial", "seed", "bucket", "stage", "problem")
_HEADER = re.compile(r"\A\s*([^\[\]]+?)\s*(?:\[\s*([^\]]+?)\s*\])?\s*\Z")


def read_runs(path: Path, *, roles: Collection[str] = ()) -> Observations:
    """Every `observations.jsonl` of finished trials below `path` (or the one file given).

    A trial whose result states a role (a stability check, say) is no point of the ladder: dropped, with that reason,
    but for those of `roles`.
    """
    files = [path] if path.is_file() else sorted(path.glob("*/observations.jsonl"))
    if not files:
        raise InputError(
            f"{path} holds no observations", "a trial writes observations.jsonl when it completes: run the sweep first"
        )
    rows, sources, dropped = [], {}, []
    for file in files:
        reason = _why_not(file.parent)
        if path.is_dir() and reason and reason not in roles:
            dropped.append((file.parent.name, reason))
            continue
        sources[str(file.relative_to(path) if path.is_dir() else file)] = file_digest(file)
        for number, line in enumerate(file.read_bytes().splitlines(), 1):
            rows.append(Observation.from_line(line, f"{file}, line {number}"))
    return Observations.of(rows, sources=sources, dropped=dropped)


def _why_not(folder: Path) -> str:
    """The reason code that keeps a trial's rows out; "" for a complete trial whose files are what its result states."""
    try:
        result = read_result(folder)
    except StoreError as error:
        return f"not to be trusted: {error.message}"
    if result is None:
        return "unfinished"
    return str(result.get("role") or "") if result["state"] == "COMPLETE" else str(result["state"]).lower()


def read_csv(path: Path, *, metric: str | None = None) -> Observations:
    table = _table(path)
    axis = next((c for c in COMPUTE_COLUMNS if c in table), None)
    definition = UNSTATED
    if axis is None and {"N", "D"} <= set(table):
        axis, definition = "C", SIX_ND
        _check_size(table, path)
        table["C"] = [_six_nd(row, f"{path}, row {number}") for number, row in table.iterrows()]
    if axis is None:
        raise InputError(
            f"{path}: there is no compute column",
            f"name one of {', '.join(COMPUTE_COLUMNS)}, or give N and D; found: {', '.join(table.columns)}",
        )
    source = sha256(path.read_bytes())
    table, dropped = _without_copies(table)
    made = _form(table, path, metric)(table, path, source[:12])
    rows = [replace(row, compute_definition=definition) for row in made]
    if not rows and metric in table:
        raise InputError(f"{path}: column {metric} holds no number", "a failed or unfinished trial gives none")
    if any(row.problems for row in rows) and not any(row.metric == "neg_log_pass" for row in rows):
        dropped += [(row.id, "neg_log_pass, as H_n differs with n, which differs between the runs") for row in rows]
    if rows and max(row.inputs.get(axis, math.inf) for row in rows) < LEAST_FLOP:
        raise InputError(
            f"{path}: no {axis} reaches {LEAST_FLOP:.0e} FLOP", f"state the unit in the header, as in '{axis} [PF-day]'"
        )
    return Observations.of(rows, axis=axis, sources={path.name: source}, dropped=dropped)


def _without_copies(table: pd.DataFrame) -> tuple[pd.DataFrame, list[tuple[str, str]]]:
    """A row that repeats another one word for word is no second run: left out, with its reason. A `seed` or `trial`
    column tells runs apart that happen to agree."""
    copies = table.duplicated()
    return table[~copies], [(f"row {number}", "copy of an earlier row") for number in table.index[copies]]


def _same_samples(table: pd.DataFrame, keys: list[str], path: Path, metric: str | None) -> bool:
    """Has every problem as many samples in every run? Other problems in some run are refused: their mean is another
    metric. Other numbers of samples leave E[p] what it is; the mean of H_n - H_c is another one."""
    first: dict[str, float] | None = None
    same = True
    for _, group in table.groupby(keys, sort=False, dropna=False):
        found = dict(zip(group["problem"], group["n"], strict=True))
        first = found if first is None else first
        if found == first:
            continue
        odd = next(p for p in [*first, *found] if first.get(p) != found.get(p))
        had, has = (f"{n:g} samples" if n else "none" for n in (first.get(odd), found.get(odd)))
        differs = f"{path}, row {group.index[0]}: problem {odd!r} has {has} in this run, {had} in the first one"
        if set(found) != set(first):
            raise InputError(differs, "means over other problems do not compare: measure the same ones in every run")
        if metric == "neg_log_pass":
            raise InputError(differs, "neg_log_pass is the mean of H_n - H_c, and H_n differs with n: use pass_rate")
        same = False
    return same


def _form(table: pd.DataFrame, path: Path, metric: str | None) -> Callable[..., Iterator[Observation]]:
    if {"problem", "n", "c"} <= set(table):
        return partial(_per_problem, metric=metric)
    if {"passes", "problems"} <= set(table):
        return _aggregates
    named = [str(c) for c in table if c not in UNITS and c not in LABELS and c != "se"]
    chosen = (
        metric if metric in named else next((c for c in named if c in METRICS), named[0] if len(named) == 1 else None)
    )
    if chosen is None:
        raise InputError(
            f"{path}: which column is the metric?" if named else f"{path}: there is no metric column",
            f"found: {', '.join(map(str, table.columns))}; use C and loss, or C, problem, n, c, or C, passes, problems",
        )
    return partial(_values, name=chosen)


def _values(table: pd.DataFrame, path: Path, source: str, name: str) -> Iterator[Observation]:
    for number, row in table.iterrows():
        where = f"{path}, row {number}"
        value, se = _cell(row, name, where), _cell(row, "se", where) if "se" in table else math.nan
        if math.isnan(value):
            continue
        metric_named(name).check(value, where)
        if se == 0:
            raise InputError(
                f"{where}: a standard error of 0 is not possible", "leave the cell empty where it is not known"
            )
        known = not math.isnan(se)
        yield _row(
            table,
            row,
            where,
            f"{source}-{number}",
            metric=name,
            value=value,
            protocol=UNSTATED,
            se=se if known else None,
            se_kind="declared" if known else "none",
        )


def _aggregates(table: pd.DataFrame, path: Path, source: str) -> Iterator[Observation]:
    for number, row in table.iterrows():
        where = f"{path}, row {number}"
        passes, problems = _cell(row, "passes", where), _cell(row, "problems", where)
        _check_counts(passes, problems, where, "passes", "problems")
        yield _row(
            table,
            row,
            where,
            f"{source}-{number}",
            metric="pass_rate",
            value=passes / problems,
            protocol=UNSTATED,
            se=_binomial_se(passes, problems),
            se_kind="sampling",
        )


def _per_problem(table: pd.DataFrame, path: Path, source: str, metric: str | None) -> Iterator[Observation]:
    for column in ("n", "c"):
        table[column] = [_number(text, f"{path}, row {number}, {column}") for number, text in table[column].items()]
    for number, n, c in table[["n", "c"]].itertuples():
        _check_counts(c, n, f"{path}, row {number}", "c", "n")
    keys = [c for c in table if c in (*COMPUTE_COLUMNS, "N", "D", "trial", "seed", "stage")]
    names = ("pass_rate", "neg_log_pass") if _same_samples(table, keys, path, metric) else ("pass_rate",)
    for index, (_, group) in enumerate(table.groupby(keys, sort=False, dropna=False)):
        where = f"{path}, row {group.index[0]}"
        if group["problem"].duplicated().any():
            twice = group.loc[group["problem"].duplicated(), "problem"].iloc[0]
            raise InputError(
                f"{where}: problem {twice!r} stands twice in one run",
                "add a trial or seed column where there are several runs at one compute",
            )
        buckets = [(OVERALL, group)] + (list(group.groupby("bucket")) if "bucket" in group else [])
        for bucket, part in buckets:
            yield from _bucket_rows(table, names, group.iloc[0], part, str(bucket), where, f"{source}-{index}")


def _bucket_rows(
    table: pd.DataFrame,
    names: Sequence[str],
    first: pd.Series,
    part: pd.DataFrame,
    bucket: str,
    where: str,
    prefix: str,
) -> Iterator[Observation]:
    n, c = part["n"].to_numpy(), part["c"].to_numpy()
    problems = {
        "problem": part["problem"].astype(str).tolist(),
        "bucket": [bucket] * len(part),
        "n": n.astype(int).tolist(),
        "c": c.astype(int).tolist(),
        "p": [None] * len(part),
    }
    samples = sorted(set(table.loc[table["problem"].isin(part["problem"]), "n"].tolist()))  # of all runs: one protocol
    protocol = digest({"problems": sorted(problems["problem"]), "samples": samples})[:16]
    for name in names:
        values = c / n if name == "pass_rate" else neg_log_pass_of_counts(n, c)
        spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
        se = spread / math.sqrt(len(values)) or _binomial_se(c.sum(), n.sum())
        yield _row(
            table,
            first,
            where,
            f"{prefix}-{bucket}-{name}",
            metric=name,
            value=float(values.mean()),
            se=se,
            se_kind="problems",
            protocol=protocol,
            bucket=bucket,
            problems=problems,
        )


def _row(table: pd.DataFrame, row: pd.Series, where: str, identifier: str, **fields: Any) -> Observation:
    inputs = {str(c): _cell(row, str(c), where) for c in table if c in UNITS and c not in fields}
    for name, value in inputs.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{where}: {name} is {value}", "every compute point needs a positive, finite value")
    _check_six_nd(inputs, where)
    run = str(row["trial"]) if "trial" in table else _run(row, identifier, inputs, counted="problems" in fields)
    fields.setdefault("bucket", str(row["bucket"]) if "bucket" in table else OVERALL)
    stage = str(row["stage"]) if "stage" in table else UNSTATED
    return Observation(id=identifier, trial=run, base_trial=run, stage=stage, inputs=inputs, **fields)


def _run(row: pd.Series, identifier: str, inputs: dict[str, float], *, counted: bool) -> str:
    """A name for the run of a row that states none: rows of counts are grouped by inputs, other rows stand alone."""
    tail = f"-s{row['seed']}" if "seed" in row else "" if counted else f"-{row.name}"
    return f"{identifier.split('-')[0]}-{digest(inputs)[:8]}{tail}"


def _check_six_nd(inputs: dict[str, float], where: str) -> None:
    """C should be near 6 N D: a factor beyond 10 means a wrong unit somewhere."""
    if {"C", "N", "D"} <= set(inputs):
        counted = six_nd(inputs["N"], inputs["D"])
        ratio = inputs["C"] / counted
        if not 0.1 <= ratio <= 10:
            raise InputError(
                f"{where}: C = {inputs['C']:.3g} is {ratio:.3g} times 6 N D = {counted:.3g}",
                "is one of them in thousands, millions or GFLOP? N in parameters, D in tokens, C in FLOP",
            )


def _check_size(table: pd.DataFrame, path: Path) -> None:
    """With C = 6 N D, nothing else tells a slip of the unit."""
    if max(_cell(row, "N", f"{path}, row {number}") for number, row in table.iterrows()) < LEAST_SIZE:
        raise InputError(
            f"{path}: no N reaches {LEAST_SIZE:,.0f} parameters", "state the unit in the header, as in N [M]"
        )


def _six_nd(row: pd.Series, where: str) -> str:
    """The cell C = 6 N D of a row; empty where one of the two is."""
    return repr(float(six_nd(_cell(row, "N", where), _cell(row, "D", where))))


def _table(path: Path) -> pd.DataFrame:
    """The CSV as text cells, headers split into name and unit, compute columns converted to FLOP."""
    try:
        # the header is read as a row: pandas would rename a second `loss` and take a surplus first cell for an index
        cells = pd.read_csv(
            path,
            dtype=str,
            skipinitialspace=True,
            nrows=MAX_ROWS + 2,
            keep_default_na=False,
            header=None,
            encoding="utf-8-sig",  # spreadsheets begin with a byte order mark
        ).fillna("")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a CSV file: {str(error).strip()}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None
    table = cells.iloc[1:].reset_index(drop=True)
    table.columns = [str(header) for header in cells.iloc[0]]
    if len(table) > MAX_ROWS:
        raise InputError(f"{path} has more than {MAX_ROWS:,} rows")
    if table.empty:
        raise InputError(f"{path} has no rows")
    _check_once(table, path)
    names = {}
    for header in table.columns:
        match = _HEADER.match(str(header))
        name, unit = (match[1], match[2]) if match else (str(header), None)
        factor = per_unit(name, unit, where=f"{path}, column {header!r}") if unit else None
        if factor is not None:
            table[header] = [_scaled(v, factor, f"{path}, row {i + 2}, {name}") for i, v in enumerate(table[header])]
        names[header] = name
    table = table.rename(columns=names)
    table.index = table.index + 2  # the row a spreadsheet shows
    _check_once(table, path)
    return table


def _check_once(table: pd.DataFrame, path: Path) -> None:
    if table.columns.duplicated().any():
        raise InputError(f"{path}: column {table.columns[table.columns.duplicated()][0]!r} stands twice")


def _scaled(text: str, factor: float, where: str) -> str:
    return repr(_float(text, where) * factor) if text.strip() else text


def _cell(row: pd.Series, column: str, where: str) -> float:
    return _number(str(row[column]), f"{where}, {column}")


def _number(text: str, where: str) -> float:
    text = text.strip()
    return math.nan if text in ("", "nan", "NaN", "NA", "null") else _float(text, where)


def _float(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        hint = (
            "write fractions, not percent"
            if text.strip().endswith("%")
            else "write a plain number; units belong into the header: C [PF-day]"
        )
        raise InputError(f"{where}: {text!r} is not a number", hint) from None


def _check_counts(passes: float, total: float, where: str, c: str, n: str) -> None:
    if not (float(passes).is_integer() and float(total).is_integer()):
        raise InputError(f"{where}: {c} = {passes:g} and {n} = {total:g} must be whole counts")
    if not 0 <= passes <= total or total < 1:
        raise InputError(f"{where}: {c} = {passes:g} of {n} = {total:g}", f"0 <= {c} <= {n} and {n} >= 1")


def _binomial_se(passes: float, total: float) -> float:
    """Standard error of a proportion with the Jeffreys prior's counts: positive also for 0 and for all."""
    p = (passes + 0.5) / (total + 1)
    return math.sqrt(p * (1 - p) / total)
