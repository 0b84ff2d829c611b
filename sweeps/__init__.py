"""Sweeps: ladders of small GRPO-LoRA runs, trained side by side on one dial of compute.

Names are loaded on first use: planning a sweep or looking at a finished one never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "evaluate": ("Evaluation",),
    "ladder": ("base_trial", "expected_seconds", "opchain", "rl_trial"),
    "recipes": ("RECIPES", "Sweep", "quick", "smoke", "standard", "u_shaped"),
    "store": ("Store", "Trial"),
    "sweep": ("run",),
    "tasks": ("task_of",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sweeps' has no name {name!r}")
    return getattr(import_module(f"sweeps.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
