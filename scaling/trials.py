"""What a trial is: the specification of one training run, its states, and what it leaves behind.

A **base trial** (`stage="pretrain"`) trains a model from nothing; an **RL trial** (`stage="rl"`) improves the model of
its `parent` by GRPO on low-rank adapters. A specification is pure data: it names everything that decides the numbers
of a run and nothing that does not (paths, executors, machines).

    >>> spec.id                # "3f9c0a1b2c3d4e5f-s17": own seed apart, everything else digested
    >>> spec.recipe_digest     # every seed left out: what a prediction commits to before seeds exist
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Literal, get_args

from scaling.errors import InputError
from scaling.ranges import Ranged, check_choice, check_numbers
from scaling.records import digest

SPEC_VERSION = 1
ID = re.compile(r"\A[a-z0-9][a-z0-9._-]{0,63}\Z")
BESIDE = "beside"  # role of a base trial of another size than the ladder's at its compute: of laws of N and D only

Stage = Literal["pretrain", "rl"]
LossName = Literal["grpo", "grpo_sequence", "bnpo", "dr_grpo", "dapo", "cispo", "scalerl"]
Schedule = Literal["cosine", "linear", "constant"]
AdvantageScaling = Literal["group", "batch", "none"]


class TrialState(enum.StrEnum):
    WAITING = "WAITING"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"
    DIVERGED = "DIVERGED"


@dataclass(frozen=True)
class TaskSpec:
    """A task by name, the random instance of it, fixed lengths in tokens, and the task's own options (JSON values)."""

    name: str
    instance: int
    prompt_tokens: int
    response_tokens: int
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        check_numbers(self)
        object.__setattr__(self, "options", dict(self.options))

    @property
    def sequence_tokens(self) -> int:
        return self.prompt_tokens + self.response_tokens


@dataclass(frozen=True)
class ModelSpec(Ranged):
    """A Llama-type decoder: RMSNorm, rotary attention, SwiGLU, embeddings tied to the output head.

    `outputs` is the output alphabet: only the first `outputs` ids of the vocabulary can be emitted, so the head
    multiplies by `outputs` rows and not by `vocab`.
    """

    layers: int
    width: int
    heads: int
    ffn: int
    vocab: int
    outputs: int
    rope_theta: float = 10.0

    @property
    def head_dim(self) -> int:
        return self.width // self.heads

    @property
    def matrices(self) -> dict[str, tuple[int, int]]:
        """Shape (out, in) of the weight matrices of one layer, by name."""
        d, f = self.width, self.ffn
        return {
            "q_proj": (d, d),
            "k_proj": (d, d),
            "v_proj": (d, d),
            "o_proj": (d, d),
            "gate_proj": (f, d),
            "up_proj": (f, d),
            "down_proj": (d, f),
        }

    @property
    def body_parameters(self) -> int:
        """N: parameters in the layers' matrices, without embedding and head."""
        return self.layers * sum(o * i for o, i in self.matrices.values())

    @property
    def matmul_parameters(self) -> int:
        """N_m: every parameter that a token is multiplied by, head included, embedding look-up left out."""
        return self.body_parameters + self.outputs * self.width


@dataclass(frozen=True)
class AdapterSpec(Ranged):
    """LoRA (Hu et al. 2021): W + (alpha / rank) B A on the named matrices of every layer."""

    rank: int
    alpha: float
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

    def parameters(self, model: ModelSpec) -> int:
        """N_l: parameters of the adapters."""
        return model.layers * sum(
            self.rank * (o + i) for name, (o, i) in model.matrices.items() if name in self.targets
        )


@dataclass(frozen=True)
class OptimSpec:
    """Adam and its schedule. `lr` is the peak; warm-up and final rate are shares of steps and of the peak.

    `clip` multiplies the moving average of the gradient norm (0 = no clipping).
    """

    lr: float
    betas: tuple[float, float]
    schedule: Schedule
    warmup: float = 0.0
    final: float = 0.0
    clip: float = 2.0

    def __post_init__(self) -> None:
        check_numbers(self)
        check_choice("schedule", self.schedule, get_args(Schedule))


YOUNGER = ("clip_high", "advantage", "filter_zero_variance", "resample_below", "unbiased_kl")


@dataclass(frozen=True)
class GRPOSpec:
    """Group Relative Policy Optimization (Shao et al. 2024) and its family: `prompts` x `group` completions a step.

    `beta` weighs the KL term to the base model, `updates` (mu) is the number of gradient steps on one batch of
    rollouts. `clip` bounds the importance ratio from below by 1 - clip and, unless `clip_high` or the loss says
    otherwise (.28 for dapo), from above by 1 + clip; for cispo and scalerl `clip_high` is the largest ratio (5).

    `advantage`: what rewards are divided by, None = what the loss does. `filter_zero_variance`: groups of equal
    rewards are left out of every mean. `resample_below`: prompts whose pass rate so far has reached it are not drawn
    again (None or 1 = off). `unbiased_kl`: the KL term times the importance ratio.
    """

    prompts: int
    group: int
    beta: float
    clip: float = 0.2
    updates: int = 1
    temperature: float = 1.0
    loss: LossName = "grpo"
    clip_high: float | None = None
    advantage: AdvantageScaling | None = None
    filter_zero_variance: bool = False
    resample_below: float | None = None
    unbiased_kl: bool = False

    def __post_init__(self) -> None:
        check_numbers(self)
        check_choice("loss", self.loss, get_args(LossName))
        check_choice("advantage", self.advantage, (None, *get_args(AdvantageScaling)))
        if self.resample_below == 1:
            object.__setattr__(self, "resample_below", None)  # one meaning, one id

    def to_json(self) -> dict[str, Any]:
        """Without what is younger than the format and default, so that older specifications keep their digests."""
        default = {f.name: f.default for f in fields(self)}
        return {k: v for k, v in asdict(self).items() if k not in YOUNGER or v != default[k]}


def scalerl(prompts: int, group: int) -> GRPOSpec:
    """ScaleRL's loss and curriculum (Khatri et al. 2025, arXiv 2510.13786): CISPO, every prompt alike, advantages
    scaled over the batch, no KL term, zero-variance prompts filtered, prompts passed nine times in ten not drawn again.

    Its fp32 logits are what the trainer computes anyway; its asynchronous generation and length control are not here.
    """
    return GRPOSpec(prompts, group, beta=0.0, loss="scalerl", filter_zero_variance=True, resample_below=0.9)


def gspo(prompts: int, group: int) -> GRPOSpec:
    """GSPO (Zheng et al. 2025, arXiv 2507.18071): one ratio a completion, clipped to 1 - 3e-4 .. 1 + 4e-4, no KL."""
    return GRPOSpec(prompts, group, beta=0.0, clip=3e-4, clip_high=4e-4, loss="grpo_sequence")


@dataclass(frozen=True)
class EvaluationSpec(Ranged):
    """How a trained model is measured: the same `problems` for every trial of a task instance."""

    problems: int = 4096
    sequences: int = 4096  # held-out sequences for the loss
    samples: int = 0  # completions drawn per problem beside its exact pass probability, which stays the value


@dataclass(frozen=True)
class TrialSpec:
    stage: Stage
    task: TaskSpec
    model: ModelSpec
    optim: OptimSpec
    steps: int
    batch: int  # sequences a step (RL: prompts x group)
    evaluation: EvaluationSpec = EvaluationSpec()
    seed: int = 0
    parent: TrialSpec | None = None
    adapter: AdapterSpec | None = None
    grpo: GRPOSpec | None = None
    role: str = ""  # "" on the ladder or its target; any other word keeps the trial out of every fit of the folder
    v: int = SPEC_VERSION

    def __post_init__(self) -> None:
        check_numbers(self)
        check_choice("trial stage", self.stage, get_args(Stage))
        rl = self.stage == "rl"
        if any((part is not None) != rl for part in (self.parent, self.adapter, self.grpo)):
            raise InputError(f"a {self.stage} trial {'needs' if rl else 'takes no'} parent, adapter and grpo")

    @property
    def base(self) -> TrialSpec:
        """The base trial this one belongs to (itself, if it is one): the resampling cluster."""
        return self.parent.base if self.parent else self

    @cached_property
    def id(self) -> str:
        """`<16 hex digits>-s<seed>`: the digest leaves out the seed and, at a constant rate, the number of steps."""
        body = self._body(seedless=False)
        body.pop("seed")
        if self.extendable:
            body.pop("steps")
        return f"{digest(body)[:16]}-s{self.seed}"

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the whole specification: what a result says it belongs to."""
        return digest(self.to_json())

    @cached_property
    def recipe_digest(self) -> str:
        """SHA-256 of the specification without any seed, the parent's included: fixed before seeds are."""
        return digest(self._body(seedless=True))

    @property
    def extendable(self) -> bool:
        """Whether more steps are the same trial, gone on with: at a constant rate the first n steps do not know how
        many follow."""
        return self.optim.schedule == "constant"

    @property
    def end(self) -> str:
        """What a child names as its parent: the id, and where more steps would keep it, the steps too. Weights of
        another end are another parent, so no finished child ever points at weights that it was not trained on."""
        return f"{self.id}@{self.steps}" if self.extendable else self.id

    def _body(self, *, seedless: bool) -> dict[str, Any]:
        body = self.to_json()
        if self.parent:
            body["parent"] = self.parent.recipe_digest if seedless else self.parent.end
        if seedless:
            body.pop("seed")
        return body

    def with_seed(self, seed: int) -> TrialSpec:
        return replace(self, seed=seed)

    def to_json(self) -> dict[str, Any]:
        body = {name: getattr(self, name) for name in self.__dataclass_fields__}
        if not self.role:
            body.pop("role")  # the field is younger than the format: without a role nothing changes, digests included
        body["task"] = {
            **{k: getattr(self.task, k) for k in ("name", "instance", "prompt_tokens", "response_tokens")},
            "options": dict(self.task.options),
        }
        for name in ("model", "optim", "evaluation", "adapter"):
            body[name] = asdict(body[name]) if body[name] else None
        body["grpo"] = self.grpo.to_json() if self.grpo else None
        body["parent"] = self.parent.to_json() if self.parent else None
        body["seed"] = str(self.seed)  # up to 63 bits: beyond what a JSON number keeps
        return body

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> TrialSpec:
        try:
            if body["v"] != SPEC_VERSION:
                raise InputError(
                    f"trial specification has version {body['v']!r}", f"this program reads version {SPEC_VERSION}"
                )
            kinds = {
                "task": TaskSpec,
                "model": ModelSpec,
                "optim": OptimSpec,
                "evaluation": EvaluationSpec,
                "adapter": AdapterSpec,
                "grpo": GRPOSpec,
            }
            known = {
                k: v if k not in kinds or (v is None and k in ("adapter", "grpo")) else kinds[k](**_tuples(v))
                for k, v in body.items()
            }
            known["parent"] = cls.from_json(body["parent"]) if body.get("parent") else None
            known["seed"] = int(body["seed"])
            return cls(**known)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(f"not a trial specification: {error}") from None


def _tuples(body: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in body.items()}
