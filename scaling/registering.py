"""From a file of forecasts and what the person states to one ledger entry: what `scaling register` does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scaling.errors import InputError
from scaling.fitted import Forecast, read_forecasts, read_made
from scaling.metrics import metric
from scaling.predictions import NOT_STARTED, UNKNOWN, Question
from scaling.records import EXACT_INTEGER, file_digest, parse
from scaling.registry import Entry, Ledger, binding, book
from scaling.registry.complete import STATES


@dataclass(frozen=True)
class Stated:
    """What nobody but the person knows. Empty: not stated. `data`, `replay` and `seed` are for forecasts whose file
    does not say what made them."""

    title: str
    until: str
    voids: Sequence[str] = ()
    thresholds: Sequence[str] = ()  # "0.7", or "pass_rate=0.7" where the file holds several metrics
    assumptions: Sequence[str] = ()
    target: Path | None = None
    run: str = ""
    model: str = ""
    train_data: str = ""
    task: str = ""
    k: str = ""
    samples: str = ""
    decoding: str = ""
    run_state: str | None = None
    protocol: str = ""
    data: Sequence[Path] = ()
    replay: str = ""
    seed: int | None = None


def register_file(path: Path, ledger: Ledger, stated: Stated, *, runs: Path, embargo: bool = False) -> Entry:
    """Enter all forecasts of a file as claims about one run. `runs`: where a run of the target may stand already."""
    made = read_forecasts(path)
    thresholds = _thresholds(stated.thresholds, made)
    questions = [
        Question(
            f"{stated.title}: {f.subject.label}", stated.until, thresholds.get(f.subject.metric), tuple(stated.voids)
        )
        for f in made
    ]
    described = _described(stated)
    state = stated.run_state or ""
    if stated.target:
        described |= parse(stated.target.read_bytes(), what=str(stated.target))
        found = binding.run_state(runs, binding.target_of(described, where=str(stated.target)))
        state = max(state or NOT_STARTED, found, key=STATES.index)  # the person may know of more than the folder shows
    return book.register(
        ledger,
        questions,
        made,
        title=stated.title,
        target=described,
        provenance=_provenance(path, stated),
        run_state=state,
        assumptions=stated.assumptions,
        protocol=stated.protocol,
        embargo=embargo,
    )


def _described(stated: Stated) -> dict[str, Any]:
    """What the person says of a run that has no specifications; counts as numbers."""
    words = {"run": stated.run, "model": stated.model, "data": stated.train_data, "task": stated.task,
             "k": stated.k, "samples": stated.samples, "decoding": stated.decoding}  # fmt: skip
    found: dict[str, Any] = {name: value for name, value in words.items() if value}
    for name in ("k", "samples"):
        if name in found and found[name] != UNKNOWN:
            if not (re.fullmatch("[0-9]{1,16}", found[name]) and 0 < int(found[name]) < EXACT_INTEGER):
                raise InputError(f"--{name} {found[name]!r:.40} is no count", f"give a whole number, or {UNKNOWN!r}")
            found[name] = int(found[name])
    return found


def _provenance(path: Path, stated: Stated) -> dict[str, Any]:
    """What the file says of its making; the person's word where it is given."""
    found = read_made(path) | {"forecasts": {path.name: file_digest(path)}}
    if stated.data:
        found["data"] = {str(file): file_digest(file) for file in stated.data}
    if stated.replay:
        found["replay"] = stated.replay
    if stated.seed is not None:
        if not 0 <= stated.seed < EXACT_INTEGER:
            raise InputError(f"--seed {stated.seed} would not be kept to its last digit", "0 up to 2^53 - 1 are")
        found["seed"] = stated.seed
    return found


def _thresholds(stated: Sequence[str], made: Sequence[Forecast]) -> dict[str, float]:
    """Metric -> threshold, each a value that its metric can have."""
    known = list(dict.fromkeys(f.subject.metric for f in made))
    found: dict[str, float] = {}
    for text in stated:
        name, _, number = text.rpartition("=")
        if not name and len(known) == 1:
            name = known[0]
        if name not in known:
            raise InputError(
                f"--threshold {text}: whose? the forecasts are of {', '.join(known) or 'nothing'}",
                f"write --threshold {(known or ['pass_rate'])[0]}=VALUE",
            )
        try:
            found[name] = float(number)
        except ValueError:
            raise InputError(f"--threshold {text}: {number!r} is not a number") from None
        metric(name).check(found[name], f"--threshold {text}")
    return found
