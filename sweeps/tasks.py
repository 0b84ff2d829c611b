"""Tasks: where problems, demonstrations and verifiable rewards come from.

Legend: B sequences, P prompt tokens, R response tokens, S = P + R. Every array is numpy; ids are int64.

Every random stream is counter-based: `stream(seed, purpose, index)` is a pure function of its arguments, so a run that
resumes at step t draws what the unbroken run would have drawn, and no generator state is ever stored.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from scaling.errors import InputError
from scaling.trials import TaskSpec


def stream(seed: int, purpose: str, index: int = 0, instance: int = 0) -> np.random.Generator:
    """Philox keyed by (seed, purpose), its counter opened at (instance, index): streams never overlap.

    Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3". The low counter word is left to the generator.
    """
    word = int.from_bytes(hashlib.sha256(purpose.encode()).digest()[:8], "little")
    return np.random.Generator(np.random.Philox(key=[seed, word], counter=[0, 0, index, instance]))


@dataclass(frozen=True)
class Demonstrations:
    """Sequences to imitate. `mask_BR` marks the completion tokens that count; it is a prefix of each row."""

    ids_BS: np.ndarray
    mask_BR: np.ndarray


@dataclass(frozen=True)
class Problems:
    """A problem set with its unique correct completions, declared buckets, and the digest that identifies it."""

    prompts_BP: np.ndarray
    answers_BR: np.ndarray
    mask_BR: np.ndarray
    bucket: list[str]
    digest: str


class Task(Protocol):
    """One random instance of a task. Tokens 0 .. outputs - 1 are the output alphabet; a completion ends with `eos`."""

    vocab: int
    outputs: int
    prompt_tokens: int
    response_tokens: int
    eos: int
    filler: int  # stands after `eos`; never trained on, never scored
    buckets: tuple[str, ...]

    def demonstrations(self, seed: int, chunk: int, count: int) -> Demonstrations:
        """Chunk number `chunk` of the training corpus of `seed`: `count` sequences."""

    def heldout(self, count: int) -> Demonstrations:
        """The first `count` sequences of the held-out corpus: the same for every trial of this instance."""

    def prompts(self, seed: int, step: int, count: int) -> np.ndarray:
        """Prompts (count, P) for RL step `step`."""

    def problems(self, count: int) -> Problems:
        """The fixed held-out problem set of this instance."""

    def rewards(self, prompts_BP: np.ndarray, completions_BR: np.ndarray) -> np.ndarray:
        """1.0 where the verifier accepts the completion, else 0.0; shape (B,), float32."""

    def loss_floor(self) -> float:
        """Irreducible held-out loss, nats per completion token."""


def _opchain(spec: TaskSpec) -> Task:
    from sweeps.opchain import OpChain

    return OpChain(spec)


TASKS: dict[str, Callable[[TaskSpec], Task]] = {"opchain": _opchain}


def task_of(spec: TaskSpec) -> Task:
    """The task that a specification names (instances are cached: their tables take a moment to draw)."""
    if spec.name not in TASKS:
        raise InputError(f"task {spec.name!r} is unknown", f"known tasks: {', '.join(sorted(TASKS))}")
    options = tuple(sorted(spec.options.items()))
    return _cached(spec.name, spec.instance, spec.prompt_tokens, spec.response_tokens, options)


@lru_cache(maxsize=8)
def _cached(name: str, instance: int, prompt_tokens: int, response_tokens: int, options: tuple) -> Task:
    return TASKS[name](TaskSpec(name, instance, prompt_tokens, response_tokens, dict(options)))
