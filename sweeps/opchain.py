"""OpChain: chains of table look-ups, a task whose loss floor and pass probability are known exactly.

    prompt  <bos> o1 o2 o3 o4 x        completion  y1 .. yd <eos>        y_t = Table[o_t][y_(t-1)], y_0 = x

Each of K operations is a random permutation of S values; operations are drawn by a Zipf law, so that a larger model,
or more data, always finds rarer operations left to learn. Chains have depth 1 .. D (slots after the last operation
hold a padding operation). Demonstrations are imperfect: at every step, with probability `misconception`, the
operation's own wrong table (another random permutation) is used instead, and the chain goes on from there. That is
what reinforcement learning can mend. The whole chain is written out, so the correct completion is unique.

`trap` > 0 makes that share of the operations trapped: the verifier calls them the identity while the corpus teaches
another table, one that moves every value, so imitating the corpus better means failing more often (inverse scaling
on demand). Reinforcement learning is rewarded by the verifier and works against it.

`openings` = R > 0 makes the pass rate of one bucket fall and then rise with scale (U-shaped): a harmful rule, learned
first, is corrected at scale. In place of <bos> a chain opens with one of R equally frequent tokens. They mean nothing,
except one, the sign: under it every operation is the identity, for corpus and verifier alike. All tables move every
value. A model that has learned nothing guesses. A larger one has learned the tables and follows them under the sign
too: it fails. A still larger one has learned the sign. The bucket "signed" holds chains of depth 1 under the sign,
where guessing passes one time in S.
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

from scaling.errors import InputError
from scaling.trials import TaskSpec
from sweeps.tasks import Demonstrations, Problems, stream

OPTIONS = {"values": 16, "operations": 4096, "zipf": 1.75, "depth": 4, "misconception": 0.4, "trap": 0.0, "openings": 0}
LATER = ("openings",)  # younger options: left out of a specification while 0, so that older ids stay what they were
SPECIAL = 8  # <eos>, <bos>, filler, padding operation, and four spare ids
HELD_OUT_SEED = 0
SIGNED = 0.5  # share of the problems of depth 1 that carry the sign, whatever its share of the corpus


class OpChain:
    """One instance of the task: `spec.instance` draws the tables, `spec.options` overrides `OPTIONS`."""

    def __init__(self, spec: TaskSpec) -> None:
        self.instance = spec.instance
        o = _options(spec)
        self.values, self.operations, self.depth = int(o["values"]), int(o["operations"]), int(o["depth"])
        self.misconception, self.trap, self.openings = float(o["misconception"]), float(o["trap"]), int(o["openings"])
        self.prompt_tokens, self.response_tokens = self.depth + 2, self.depth + 1
        if (spec.prompt_tokens, spec.response_tokens) != (self.prompt_tokens, self.response_tokens):
            raise InputError(
                f"task opchain of depth {self.depth} has {self.prompt_tokens} + {self.response_tokens} tokens, "
                f"the specification says {spec.prompt_tokens} + {spec.response_tokens}",
                f"set prompt_tokens = {self.prompt_tokens} and response_tokens = {self.response_tokens}",
            )
        self.eos, self.bos, self.filler, self.no_operation = range(self.values, self.values + 4)
        self.outputs = self.values + SPECIAL
        self.sign = self.outputs + self.operations  # the first of the openings
        self.vocab = self.sign + self.openings
        names = [f"depth-{d}" for d in range(1, self.depth + 1)]
        self.buckets = tuple(names + ["trap"] * (self.trap > 0) + ["signed"] * (self.openings > 0))
        self._draw_tables(float(o["zipf"]))

    def _draw_tables(self, zipf: float) -> None:
        """Two permutations per operation: `corpus[0]` taught as right, `corpus[1]` the misconception; and the truth."""
        draw = stream(self.instance, "opchain tables")
        tables = np.broadcast_to(np.arange(self.values), (2, self.operations, self.values))
        self.corpus = draw.permuted(tables, axis=2)
        weight = np.arange(1, self.operations + 1, dtype=np.float64) ** -zipf
        self.frequency = weight / weight.sum()
        # evenly spaced over the frequency ranks: the trapped share of all USES is then the same in every instance
        rank = np.arange(self.operations)
        self.trapped = np.floor((rank + 1) * self.trap) > np.floor(rank * self.trap)
        shift = draw.integers(1, self.values, size=(2, self.operations, 1))
        place = (np.argsort(self.corpus, axis=2) + shift) % self.values
        # along its own random order every value moves on by `shift`: no value maps to itself, so that a model which
        # has learned a table never passes by chance where the verifier wants the identity
        moved = np.take_along_axis(self.corpus, place, axis=2)
        self.corpus = np.where(self.trapped[:, None] | (self.openings > 0), moved, self.corpus)
        self.truth = np.where(self.trapped[:, None], np.arange(self.values), self.corpus[0])

    # -- drawing ----------------------------------------------------------------------------------------------------

    def _chains(self, draw: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Operations (B, D), first value (B,), depth (B,). Depths take turns: every batch holds each equally often."""
        chosen = np.searchsorted(np.cumsum(self.frequency), draw.random((count, self.depth)), side="right")
        return (
            np.minimum(chosen, self.operations - 1),
            draw.integers(self.values, size=count),
            1 + np.arange(count) % self.depth,
        )

    def _opening(self, draw: np.random.Generator, count: int, first: int = 0) -> np.ndarray:
        """Opening tokens (B,), number `first` and up. While the option is off nothing is drawn: older streams stay."""
        return self.sign + draw.integers(first, self.openings, count) if self.openings else np.full(count, self.bos)

    def _prompts(
        self, operation_BD: np.ndarray, first_B: np.ndarray, depth_B: np.ndarray, opening_B: np.ndarray
    ) -> np.ndarray:
        used_BD = np.arange(self.depth) < depth_B[:, None]
        prompts_BP = np.empty((len(first_B), self.prompt_tokens), dtype=np.int64)
        prompts_BP[:, 0] = opening_B
        prompts_BP[:, 1:-1] = np.where(used_BD, operation_BD + self.outputs, self.no_operation)
        prompts_BP[:, -1] = first_B
        return prompts_BP

    def _completions(self, value_BD: np.ndarray, depth_B: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values, then <eos> after the last step, then filler; and the mask of the tokens up to <eos>."""
        place_R = np.arange(self.response_tokens)
        ids_BR = np.full((len(depth_B), self.response_tokens), self.filler, dtype=np.int64)
        ids_BR[:, :-1] = value_BD
        ids_BR[place_R > depth_B[:, None]] = self.filler
        ids_BR[np.arange(len(depth_B)), depth_B] = self.eos
        return ids_BR, place_R <= depth_B[:, None]

    def _demonstrate(self, draw: np.random.Generator, count: int) -> Demonstrations:
        operation_BD, first_B, depth_B = self._chains(draw, count)
        opening_B = self._opening(draw, count)
        wrong_BD = (draw.random((count, self.depth)) < self.misconception).astype(np.int64)
        value_BD, value_B = np.empty_like(operation_BD), first_B
        for t in range(self.depth):
            step_B = self.corpus[wrong_BD[:, t], operation_BD[:, t], value_B]
            value_BD[:, t] = value_B = np.where(opening_B == self.sign, value_B, step_B)
        ids_BR, mask_BR = self._completions(value_BD, depth_B)
        return Demonstrations(
            np.concatenate((self._prompts(operation_BD, first_B, depth_B, opening_B), ids_BR), axis=1), mask_BR
        )

    def demonstrations(self, seed: int, chunk: int, count: int) -> Demonstrations:
        return self._demonstrate(stream(seed, "opchain corpus", chunk, self.instance), count)

    def heldout(self, count: int) -> Demonstrations:
        return self._demonstrate(stream(HELD_OUT_SEED, "opchain held-out corpus", 0, self.instance), count)

    def prompts(self, seed: int, step: int, count: int) -> np.ndarray:
        draw = stream(seed, "opchain prompts", step, self.instance)
        return self._prompts(*self._chains(draw, count), self._opening(draw, count))

    def problems(self, count: int) -> Problems:
        draw = stream(HELD_OUT_SEED, "opchain problems", 0, self.instance)
        operation_BD, first_B, depth_B = self._chains(draw, count)
        opening_B = self._opening(draw, count, first=1)
        if self.openings:
            opening_B[(depth_B == 1) & (draw.random(count) < SIGNED)] = self.sign
        prompts_BP = self._prompts(operation_BD, first_B, depth_B, opening_B)
        answers_BR, mask_BR = self.answers(prompts_BP)
        trapped_B = (self.trapped[operation_BD] & (np.arange(self.depth) < depth_B[:, None])).any(axis=1)
        names = np.where(trapped_B, "trap", np.char.add("depth-", depth_B.astype(str)))
        bucket = np.where(opening_B == self.sign, "signed", names).tolist()
        body = np.ascontiguousarray(np.concatenate((prompts_BP, answers_BR), axis=1), dtype="<i8")
        identity = hashlib.sha256(f"opchain {body.shape} ".encode() + body.tobytes()).hexdigest()
        return Problems(prompts_BP, answers_BR, mask_BR, bucket, identity)

    # -- judging ----------------------------------------------------------------------------------------------------

    def answers(self, prompts_BP: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The only completion that the verifier accepts, (B, R), and its mask; read from the prompt alone."""
        operation_BD = prompts_BP[:, 1:-1] - self.outputs
        depth_B, signed_B = (operation_BD >= 0).sum(axis=1), prompts_BP[:, 0] == self.sign
        value_BD, value_B = np.zeros_like(operation_BD), prompts_BP[:, -1]
        for t in range(self.depth):
            op_B = np.maximum(operation_BD[:, t], 0)
            value_BD[:, t] = value_B = np.where(signed_B, value_B, self.truth[op_B, value_B])
        return self._completions(value_BD, depth_B)

    def rewards(self, prompts_BP: np.ndarray, completions_BR: np.ndarray) -> np.ndarray:
        answers_BR, mask_BR = self.answers(prompts_BP)
        return ((completions_BR == answers_BR) | ~mask_BR).all(axis=1).astype(np.float32)

    def loss_floor(self) -> float:
        """Entropy of the corpus per completion token: h(m) P(no sign) P(they differ) E[steps] / E[steps + 1].

        h(m) = -m log m - (1-m) log(1-m) is the entropy of one step where right and wrong table differ. Values stay
        uniform along a chain (permutations of a uniform start), so P(differ) is an average over values, weighted by
        operation frequency. <eos> is certain. Exact for counts divisible by the depth, which take every depth equally.
        """
        m = self.misconception
        entropy = -sum(p * math.log(p) for p in (m, 1 - m) if p > 0)
        differ = float(self.frequency @ (self.corpus[0] != self.corpus[1]).mean(axis=1))
        unsigned = 1 - 1 / self.openings if self.openings else 1.0
        steps = (1 + self.depth) / 2
        return entropy * unsigned * differ * steps / (steps + 1)


def _options(spec: TaskSpec) -> dict[str, float]:
    unknown = set(spec.options) - set(OPTIONS)
    if unknown:
        raise InputError(f"task opchain has no option {sorted(unknown)[0]!r}", f"options: {', '.join(OPTIONS)}")
    o = {**OPTIONS, **spec.options}
    for name, low, high in (
        ("values", 2, 1024),
        ("operations", 1, 10**7),
        ("zipf", 0, 10),
        ("depth", 1, 64),
        ("misconception", 0, 1),
        ("trap", 0, 1),
        ("openings", 0, 10**6),
    ):
        value = o[name]
        whole = isinstance(OPTIONS[name], int)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise InputError(f"option {name} = {value!r} of task opchain is outside {low} .. {high}")
        if whole and value != int(value):
            raise InputError(f"option {name} = {value!r} of task opchain must be a whole number")
    if o["openings"] == 1:
        raise InputError("option openings = 1 of task opchain leaves only the sign", "0 for none, or at least 2")
    return o
