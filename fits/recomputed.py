"""A registered prediction made again: its data by their registered digests, the same law or rule, the same seed.

What made the forecasts stands in the entry as a command, `scaling forecast ...` or `scaling demo ...`. It is not run as
it stands: its arguments are read, the data files that it names are copied to a folder of their own where their digests
are the registered ones, and the same functions fit and draw again, on the claims' own targets. Then

    bit by bit    every quantile of every claim and the digest of its draws are the registered ones
    otherwise     the largest |q' - q| of a claim is at most TOLERANCE of the width of its registered 90 % interval,
                  and versions of the program's packages or its code differ from the registered ones; on the same
                  versions and code only the first will do, unless the processor is another one

What it cannot show: that the data are true, or that no other choice was tried before.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from fits.choices import Choice
from scaling.compute import inputs_of
from scaling.errors import InputError, NotReplayed
from scaling.fitted import Forecast
from scaling.gates import gates_path
from scaling.metrics import unknown_metrics
from scaling.observations import Observations
from scaling.predictions import Claim, Prediction
from scaling.provenance import code, machine, versions
from scaling.records import sha256, write_atomic
from scaling.registry import Ledger, binding, standing
from scaling.results import NAME as RESULT
from scaling.trials import TrialSpec
from scaling.units import parse_compute

CHOSEN = tuple(f.name for f in fields(Choice) if f.default_factory is MISSING)  # what a command says
TOLERANCE = 0.01  # of the width of a claim's 90 % interval
FITS_WITH = ("python", "numpy", "scipy", "pandas", "sympy")  # whose versions may change last digits
Where = Callable[[str, str], float]


@dataclass(frozen=True)
class Recomputed:
    """What came out. `largest`: of |q' - q| over the width of the claim's 90 % interval; `other`: what differs from the
    program and machine that registered it."""

    entry: int
    prediction: str
    claims: int
    files: int
    exact: bool
    largest: float
    other: tuple[str, ...] = ()

    def __str__(self) -> str:
        what = (
            f"prediction {self.prediction[:12]} (entry {self.entry}): {self.claims} claims made again from "
            f"{self.files} data files with the registered digests: "
        )
        if self.exact:
            return what + "every quantile and every draw is the registered one, bit by bit"
        return (
            f"{what}the quantiles agree within {100 * TOLERANCE:g} % of the 90 % interval (at most "
            f"{100 * self.largest:.2g} %), not bit by bit: {'; '.join(self.other)}"
        )


def recompute(run: str, *, folder: Path, ledger: Path | None = None, data: Path | None = None) -> Recomputed:
    """Make a prediction (its hash, or `latest`) again and compare. `folder`: the project's; `data`: where the data are
    now, if not where the command says. `NotReplayed`: the numbers are others; `InputError`: it cannot be done."""
    record = standing.find(Ledger(ledger or folder / "ledger", create=False), run)
    prediction = record.prediction
    verb, arguments = _command(prediction)
    choice, at = _choice(verb, arguments, prediction)
    path = data or (folder / "runs" if verb == "demo" else choice.path)
    with tempfile.TemporaryDirectory(prefix="scaling-replay-") as stage:
        staged, files = _staged(path, prediction.provenance.get("data") or {}, Path(stage))
        with unknown_metrics(choice.better or "lower"):
            made = _made(verb, replace(choice, path=staged), at, arguments)
    other = _differences(prediction)
    again = [_same_question(claim, made) for claim in prediction.claims]
    far = [_distance(claim, f) for claim, f in zip(prediction.claims, again, strict=True)]
    alike = [f.draws_digest == c.draws_digest for c, f in zip(prediction.claims, again, strict=True)]
    exact, worst = all(alike) and not any(far), int(np.argmax(far))
    if far[worst] > (TOLERANCE if other else 0.0) or not (exact or other):
        odd = prediction.claims[worst if far[worst] else alike.index(False)].id
        what = (
            f"a quantile is off by {100 * far[worst]:.2g} % of its 90 % interval" if far[worst] else "its draws differ"
        )
        raise NotReplayed(
            f"prediction {record.entry.hash[:12]}: claim {odd} does not come out again: {what}",
            f"made elsewhere: {'; '.join(other)}" if other else "program, versions and machine are those registered",
        )
    return Recomputed(record.entry.seq, record.entry.hash, len(far), files, exact, far[worst], () if exact else other)


def _command(prediction: Prediction) -> tuple[str, list[str]]:
    """Verb and arguments of the command that made the forecasts."""
    stated = str(prediction.provenance.get("replay") or "")
    try:
        words = shlex.split(stated)
    except ValueError:
        words = []
    if len(words) < 2 or Path(words[0]).name not in ("scaling", "__main__.py") or words[1] not in ("forecast", "demo"):
        raise InputError(
            f"its replay command is {stated!r:.80}, which this program does not run",
            "run it yourself and compare: only `scaling forecast` and `scaling demo` are made again here",
        )
    return words[1], words[2:]


def _choice(verb: str, arguments: Sequence[str], prediction: Prediction) -> tuple[Choice, Where]:
    """What the command chose, with the registered seed, and where each question is asked: where its claim is."""
    seed = prediction.provenance.get("seed")
    given: dict[str, Any] = dict.fromkeys(CHOSEN) | {"path": Path("runs")}
    if verb == "forecast":
        given = _parsed(arguments)
    if type(seed) is not int:
        raise InputError("the prediction names no seed of its draws", "it cannot be made again")
    choice = Choice(**{name: given[name] for name in CHOSEN} | {"seed": seed})
    known = {(c.subject.stage, c.subject.axis): c.target for c in prediction.claims}
    specs: Mapping[str, TrialSpec] = {}
    if "specs" in prediction.target:
        specs = binding.target_of(prediction.target, where="the prediction's target")

    def at(stage: str, axis: str) -> float:
        if (stage, axis) in known:
            return known[stage, axis]
        if given.get("compute"):
            return parse_compute(given["compute"], where="--at")
        if stage in specs and axis in inputs_of(specs[stage]):
            return inputs_of(specs[stage])[axis]
        raise InputError(f"the prediction does not say what its run costs at stage {stage} on the axis {axis}")

    return choice, at


def _parsed(arguments: Sequence[str]) -> dict[str, Any]:
    from fits.forecast_verb import forecast

    try:
        return dict(forecast.make_context("forecast", list(arguments), help_option_names=[]).params)
    except click.ClickException as error:
        said = error.format_message()
        raise InputError(f"its replay command is none of this version's `scaling forecast`: {said}") from None


def _staged(path: Path, registered: Mapping[str, str], stage: Path) -> tuple[Path, int]:
    """Where the registered files, and nothing else, now stand with the registered digests; and how many they are."""
    if not registered:
        raise InputError("the prediction names no data file", "it cannot be made again")
    for name, stated in registered.items():
        source, to = _place(path, name, stage, alone=len(registered) == 1)
        if source is None or not source.is_file():
            raise InputError(
                f"the data file {name} is not in {path}", "--data FILE_OR_FOLDER says where the registered data are"
            )
        content = source.read_bytes()
        if (found := sha256(content)) != stated:
            raise InputError(
                f"{source} is not the registered data file {name}: its digest is {found[:16]}..., {stated[:16]}... was "
                "registered",
                "restore the file that was fitted",
            )
        to.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(to, content)
        result = source.parent / RESULT
        if path.is_dir() and to.parent != stage and result.is_file():
            write_atomic(to.parent / RESULT, result.read_bytes())  # it vouches for the rows, and states a role
    return stage / ("runs" if path.is_dir() else path.name), len(registered)


def _place(path: Path, name: str, stage: Path, *, alone: bool) -> tuple[Path | None, Path]:
    """Where a registered file is looked for, and where it goes. Of a table that was read as one file its name may be
    another by now; of a folder of trials the names are `<trial>/<file>`, and that of the gates beside it."""
    if not path.is_dir():
        return (path if alone or Path(name).name == path.name else None), stage / path.name
    gates = gates_path(path)
    if name == gates.name:
        return gates, stage / name
    inside = not Path(name).is_absolute() and ".." not in Path(name).parts
    return (path / name if inside else None), stage / "runs" / name


def _made(verb: str, choice: Choice, at: Where, arguments: Sequence[str]) -> list[Forecast]:
    if verb == "forecast":
        from fits.forecast_verb import forecasts_of

        return forecasts_of(choice, choice.subjects(), at, _parsed(arguments)["likelihood"])[0]
    from fits.combined import best_forecasts

    return list(best_forecasts(Observations.read(choice.path), at, seed=choice.seed).forecasts)


def _same_question(claim: Claim, made: Sequence[Forecast]) -> Forecast:
    """The forecast of the claim's subject by its law. The protocol may have been stated at registration."""
    s = claim.subject
    for protocol in (True, False):
        for f in made:
            o = f.subject
            if (o.stage, o.metric, o.bucket, o.axis, f.law) == (s.stage, s.metric, s.bucket, s.axis, claim.law) and (
                o.protocol == s.protocol or not protocol
            ):
                return f
    raise NotReplayed(f"claim {claim.id}: made again there is no such forecast by {claim.law}")


def _distance(claim: Claim, again: Forecast) -> float:
    """Largest difference of a quantile, in widths of the registered 90 % interval."""
    low, high = claim.interval(0.9)
    largest = float(np.max(np.abs(np.array(again.quantiles) - np.array(claim.quantiles))))
    return largest / (high - low) if high > low else 0.0 if largest == 0 else np.inf


def _differences(prediction: Prediction) -> tuple[str, ...]:
    """What is not as it was when the prediction was registered: it may change last digits."""
    made = prediction.provenance
    then, now = made.get("versions") or {}, versions()
    changed = (name for name in FITS_WITH if name in now and then.get(name) != now[name])
    found = [f"{name} {then.get(name)} then, {now[name]} now" for name in changed]
    if (made.get("code") or {}) != code():
        found.append("the program's code is another than the registered")
    before, here = (made.get("machine") or {}).get("cpu"), machine()["cpu"]
    if before != here:
        found.append(f"on {before} then, {here} now")
    return tuple(found)
