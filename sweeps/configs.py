"""`sweep.toml`: a recipe and its arguments, read and written.

    recipe = "quick"
    instance = 7
    smallest = "2e9 FLOP"

Keys are the recipe's keyword arguments; what is not stated keeps its default. The file that a run leaves in its folder
states all of them, can be used again as it stands, and keeps under [record] what was passed and the sweep's digest.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scaling.compute import inputs_of
from scaling.errors import InputError
from scaling.gates import RECORD, SWEEP
from scaling.records import MAX_BYTES, canonical, parse, write_atomic
from scaling.registry.binding import target_of
from sweeps.recipes import RECIPES, Sweep, Target, arguments_of

NAME, TARGET = SWEEP, "target.json"
VERSION = 1


def read(source: str | Path, **overrides: Any) -> Sweep:
    """The sweep of a recipe's name or of a TOML file; `overrides` win over the file."""
    text = str(source)
    if text in RECIPES:
        return make(text, overrides)
    path = Path(source)
    if path.suffix != ".toml":
        raise InputError(
            f"{text!r} is no recipe", f"{_nearest(text, RECIPES)}recipes: {', '.join(RECIPES)}; or a FILE.toml"
        )
    body = _load(path)
    body.pop(RECORD, None)
    recipe = body.pop("recipe", None)
    if not isinstance(recipe, str) or recipe not in RECIPES:
        raise InputError(f'{path} needs recipe = "..."', f"recipes: {', '.join(RECIPES)}")
    return make(recipe, {**body, **overrides}, where=str(path))


def make(recipe: str, arguments: Mapping[str, Any], *, where: str = "arguments") -> Sweep:
    """Call a recipe with checked arguments; a key it does not know, or a wrong kind of value, is refused."""
    known = arguments_of(recipe)
    for name, value in arguments.items():
        if name not in known:
            raise InputError(
                f"{where}: recipe {recipe} has no argument {name!r}",
                f"{_nearest(name, known)}arguments: {', '.join(known)}",
            )
        _check_kind(f"{where}: {name}", value, known[name])
    return RECIPES[recipe](**{name: _tuples(value) for name, value in arguments.items()})


def keep(folder: Path, sweep: Sweep, passed: Mapping[str, Any]) -> None:
    """Write sweep.toml and target.json on the first run; refuse a folder that holds another sweep."""
    path = folder / NAME
    if path.exists():
        record = _load(path).get(RECORD)
        found = record.get("digest") if isinstance(record, dict) else None
        if found != sweep.digest:
            raise InputError(
                f"{folder} holds another sweep ({found or 'unrecorded'!s:.12}, this one is {sweep.digest[:12]})",
                f"give this sweep its own --folder, or go on with the folder's own: scaling demo --folder {folder}",
            )
    else:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(path, dump(sweep, passed))
    if not (folder / TARGET).exists():
        write_atomic(folder / TARGET, canonical(describe(sweep)) + b"\n")
    elif read_target(folder) != sweep.target:
        raise InputError(f"{folder / TARGET} is not this sweep's target", "remove it: it is written again")


def describe(sweep: Sweep) -> dict[str, Any]:
    """The target as target.json and a prediction's body state it: seedless `specs` by stage, and their origin."""
    base, rl = sweep.target
    return {
        "v": VERSION,
        "recipe": sweep.name,
        "rule": sweep.rule,
        "C_pre": inputs_of(base)["C_pre"],
        "specs": {"pretrain": base.to_json(), "rl": rl.to_json()},
    }


def read_target(folder: Path) -> Target:
    """The target that a folder's sweep is to predict."""
    path = folder / TARGET
    if not path.exists():
        raise InputError(f"{path} does not exist", "scaling run writes it with the ladder")
    specs = target_of(parse(path.read_bytes(), what=str(path)), where=str(path))
    if "rl" not in specs:
        raise InputError(f"{path} describes no RL run", "remove it: scaling run writes it again")
    return specs["pretrain"], specs["rl"]


def dump(sweep: Sweep, passed: Mapping[str, Any]) -> str:
    """The resolved recipe as TOML."""
    lines = ["# What this folder's ladder is. Usable again: scaling run sweep.toml --folder elsewhere", ""]
    lines += [f"recipe = {_toml(sweep.name)}", *(f"{k} = {_toml(v)}" for k, v in sweep.arguments.items())]
    lines += ["", f"[{RECORD}]", f"v = {VERSION}", f"digest = {_toml(sweep.digest)}", f"rule = {_toml(sweep.rule)}"]
    lines += ["", f"[{RECORD}.passed]", *(f"{k} = {_toml(v)}" for k, v in passed.items())]
    return "\n".join(lines) + "\n"


def _load(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > min(MAX_BYTES, 2**20):
            raise InputError(f"{path} is larger than 1 MiB", "a sweep file has some ten lines")
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path} is not valid TOML: {error}") from None
    except FileNotFoundError:
        raise InputError(f"{path} does not exist", f"write one, or name a recipe: {', '.join(RECIPES)}") from None


def _check_kind(where: str, value: Any, default: Any) -> None:
    """The value's kind is the default's; a whole number also serves as a float."""
    kinds = {str: "a text", int: "a whole number", float: "a number", tuple: "a list"}
    wanted = type(default)
    fits = {
        str: isinstance(value, str),
        int: isinstance(value, int) and not isinstance(value, bool),
        float: isinstance(value, (int, float)) and not isinstance(value, bool),
        tuple: isinstance(value, (list, tuple)) and all(_is_row(row) for row in value),
    }
    if not fits[wanted]:
        raise InputError(f"{where} = {value!r:.60} is not {kinds[wanted]}", f"for example {_toml(default)}")


def _is_row(row: Any) -> bool:
    return isinstance(row, (list, tuple)) and all(isinstance(n, int) and not isinstance(n, bool) for n in row)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value


def _nearest(name: str, known: Iterable[str]) -> str:
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {found[0]!r}? " if found else ""


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return canonical(value).decode()  # a JSON string is a TOML basic string
    if isinstance(value, Sequence):
        return f"[{', '.join(_toml(v) for v in value)}]"
    return repr(value)
