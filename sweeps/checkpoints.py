"""Checkpoints: tensors on disk that are whole or not there, and a manifest that says which bytes to trust.

    checkpoint.safetensors            the newest state: weights under transformers' or peft's names, optimiser beside
    checkpoint.previous.safetensors   the one before, while a trial runs
    checkpoint.json                   for each of the two: step, SHA-256, bytes, and facts that a resumed run carries on

Order of a save: temporary file, manifest naming the new AND the old digest, old -> previous, new into place. Whatever
call a kill falls on, at least one file has its digest in the manifest. safetensors only: nothing is ever unpickled.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.errors import InputError, StoreError
from scaling.records import canonical, file_digest, parse, sha256, sync_folder, write_atomic

if TYPE_CHECKING:
    from torch import Tensor

NAME, PREVIOUS, MANIFEST = "checkpoint.safetensors", "checkpoint.previous.safetensors", "checkpoint.json"
VERSION = 1


@dataclass(frozen=True)
class Saved:
    """A checkpoint's manifest entry. `facts` are numbers that add up over resumed runs (seconds so far)."""

    step: int
    sha256: str
    bytes: int
    facts: Mapping[str, float]


def save(folder: Path, step: int, tensors: Mapping[str, Tensor], facts: Mapping[str, float], *, keep: bool) -> Saved:
    """Write a checkpoint; with `keep` the one before stays beside it."""
    from safetensors.torch import save as to_bytes

    data = to_bytes({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata={"step": str(step)})
    new = Saved(step, sha256(data), len(data), dict(facts))
    temporary = folder / f".{NAME}.new"
    write_atomic(temporary, data)
    manifest = {"v": VERSION, "checkpoints": [vars(entry) for entry in [new, *_in_place(folder)]]}
    write_atomic(folder / MANIFEST, canonical(manifest) + b"\n")
    if (folder / NAME).exists():
        os.replace(folder / NAME, folder / PREVIOUS)
    os.replace(temporary, folder / NAME)
    sync_folder(folder)
    if not keep:
        (folder / PREVIOUS).unlink(missing_ok=True)
    return new


def load(folder: Path) -> tuple[Saved, dict[str, Tensor], list[str]]:
    """The newest whole checkpoint, and what was wrong with a newer one. `StoreError` if there is no whole one."""
    from safetensors import SafetensorError
    from safetensors.torch import load as from_bytes

    known = {entry.sha256: entry for entry in _known(folder)}
    faults = []
    for path in (folder / NAME, folder / PREVIOUS):
        if not path.exists():
            continue
        try:
            data = path.read_bytes()
        except OSError as error:
            faults.append(f"{path} cannot be read: {error.strerror or error}")
            continue
        entry = known.get(sha256(data))
        if entry is None:
            faults.append(f"{path} ({len(data)} bytes) has none of the digests in {MANIFEST}: cut or changed")
            continue
        try:
            return entry, from_bytes(data), faults
        except SafetensorError as error:
            faults.append(f"{path} is not a safetensors file: {error}")
    raise StoreError("; ".join(faults) or f"{folder} holds no checkpoint")


def exact(folder: Path, digest: str) -> dict[str, Tensor]:
    """The tensors of the checkpoint with this digest, whatever its name is by now."""
    from safetensors.torch import load as from_bytes

    for path in (folder / NAME, *sorted(folder.glob("checkpoint.*.safetensors"))):
        if path.is_file() and file_digest(path) == digest:
            return from_bytes(path.read_bytes())
    raise StoreError(f"no checkpoint in {folder} is the one that its result names")


def newest(folder: Path) -> Saved | None:
    """The manifest's newest entry, without reading tensors."""
    return next(iter(_known(folder, forgiving=True)), None)


def _in_place(folder: Path) -> list[Saved]:
    """The entry of the file that stands there now (after a kill that need not be the manifest's first)."""
    if not (folder / NAME).exists():
        return []
    found = file_digest(folder / NAME)
    return [entry for entry in _known(folder, forgiving=True) if entry.sha256 == found][:1]


def _known(folder: Path, *, forgiving: bool = False) -> list[Saved]:
    path = folder / MANIFEST
    try:
        return [_entry(body) for body in parse(path.read_bytes(), what=str(path))["checkpoints"]]
    except FileNotFoundError:
        return []
    except (InputError, KeyError, TypeError, ValueError) as error:
        if forgiving:
            return []
        raise StoreError(f"{path} is corrupt: {error}", "the trial starts again without its checkpoints") from None


def _entry(body: Mapping[str, Any]) -> Saved:
    return Saved(int(body["step"]), str(body["sha256"]), int(body["bytes"]), dict(body["facts"]))
