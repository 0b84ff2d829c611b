"""Models: a transformers Llama or its peft adapters by specification, and the same weights as views of one flat tensor.

Legend: V vocabulary, D width, F feed-forward width, r adapter rank.

A tensor's name is the one that transformers or peft gives it, so that everything a trial saves loads with
`LlamaForCausalLM.from_pretrained` or `PeftModel`. Training works on `Parameters` and `Adapters`: one flat tensor each
(the optimiser is then a handful of whole-tensor operations), with q/k/v and gate/up fused as neighbouring rows.
transformers and peft are imported only where an object of theirs is asked for: they cost seconds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from scaling.errors import InputError
from scaling.trials import AdapterSpec, ModelSpec
from sweeps.tasks import stream

NORM_EPS = 1e-6
INITIAL_GAIN = 0.5
PEFT_PREFIX = "base_model.model."
FUSED = {
    "q_proj": "qkv",
    "k_proj": "qkv",
    "v_proj": "qkv",
    "o_proj": "o",
    "gate_proj": "gate_up",
    "up_proj": "gate_up",
    "down_proj": "down",
}


def module_name(layer: int, matrix: str) -> str:
    part = "mlp" if matrix in ("gate_proj", "up_proj", "down_proj") else "self_attn"
    return f"model.layers.{layer}.{part}.{matrix}"


@dataclass(frozen=True)
class Layer:
    """Views of one layer: gains (D,), qkv (3D, D) as rows q|k|v, o (D, D), gate_up (2F, D) as gate|up, down (D, F)."""

    norm1: Tensor
    qkv: Tensor
    o: Tensor
    norm2: Tensor
    gate_up: Tensor
    down: Tensor


class Parameters:
    """Every weight of a model (or every gradient) as views of `flat`."""

    def __init__(self, spec: ModelSpec, flat: Tensor | None = None) -> None:
        check(spec)
        d, f, self.spec = spec.width, spec.ffn, spec
        shapes = [(d,), (3 * d, d), (d, d), (d,), (2 * f, d), (d, f)]
        sizes = [math.prod(s) for s in shapes]
        total = spec.vocab * d + spec.layers * sum(sizes) + d
        self.flat = torch.zeros(total) if flat is None else flat
        embed, *rest = self.flat.split([spec.vocab * d, *(sizes * spec.layers), d])
        self.embed, self.norm = embed.view(spec.vocab, d), rest.pop()
        views = [view.view(shape) for view, shape in zip(rest, shapes * spec.layers, strict=True)]
        self.layers = [Layer(*views[i : i + 6]) for i in range(0, len(views), 6)]

    def named(self) -> dict[str, Tensor]:
        """Views by transformers' names. The head is tied to the embedding and has no entry of its own."""
        views = {"model.embed_tokens.weight": self.embed}
        for i, layer in enumerate(self.layers):
            for matrix in FUSED:
                views[module_name(i, matrix) + ".weight"] = rows(layer, matrix)
            views[f"model.layers.{i}.input_layernorm.weight"] = layer.norm1
            views[f"model.layers.{i}.post_attention_layernorm.weight"] = layer.norm2
        return views | {"model.norm.weight": self.norm}

    def tensors(self) -> dict[str, Tensor]:
        return {name: view.to("cpu", copy=True) for name, view in self.named().items()}

    def to(self, device: str) -> Parameters:
        return self if self.flat.device.type == device else Parameters(self.spec, self.flat.to(device))

    @classmethod
    def of(cls, spec: ModelSpec, tensors: Mapping[str, Tensor]) -> Parameters:
        new = cls(spec)
        _copy(new.named(), tensors)
        return new


class Adapters:
    """LoRA factors (or their gradients) as views of `flat`: per layer, matrix -> (A (r, in), B (out, r))."""

    def __init__(self, spec: ModelSpec, adapter: AdapterSpec, flat: Tensor | None = None) -> None:
        if unknown := set(adapter.targets) - set(FUSED):
            raise InputError(
                f"adapter target {sorted(unknown)[0]!r} is no matrix of the model", f"targets: {', '.join(FUSED)}"
            )
        self.spec, self.adapter, self.scale = spec, adapter, adapter.alpha / adapter.rank
        self.flat = torch.zeros(adapter.parameters(spec)) if flat is None else flat
        self.layers: list[dict[str, tuple[Tensor, Tensor]]] = []
        start = 0
        for _ in range(spec.layers):
            pairs = {}
            for matrix in adapter.targets:
                out, inner = spec.matrices[matrix]
                a_size, b_size = adapter.rank * inner, out * adapter.rank
                a = self.flat[start : start + a_size].view(adapter.rank, inner)
                pairs[matrix] = a, self.flat[start + a_size : start + a_size + b_size].view(out, adapter.rank)
                start += a_size + b_size
            self.layers.append(pairs)

    def named(self) -> dict[str, Tensor]:
        """Views by the names in peft's saved adapters."""
        return {
            f"{PEFT_PREFIX}{module_name(i, matrix)}.lora_{letter}.weight": view
            for i, pairs in enumerate(self.layers)
            for matrix, pair in pairs.items()
            for letter, view in zip("AB", pair, strict=True)
        }

    def tensors(self) -> dict[str, Tensor]:
        return {name: view.to("cpu", copy=True) for name, view in self.named().items()}

    def to(self, device: str) -> Adapters:
        return self if self.flat.device.type == device else Adapters(self.spec, self.adapter, self.flat.to(device))

    @classmethod
    def of(cls, spec: ModelSpec, adapter: AdapterSpec, tensors: Mapping[str, Tensor]) -> Adapters:
        new = cls(spec, adapter)
        _copy(new.named(), tensors)
        return new


def rows(layer: Layer, matrix: str) -> Tensor:
    """The rows of one named matrix inside its fused tensor."""
    fused = getattr(layer, FUSED[matrix])
    group = [name for name, home in FUSED.items() if home == FUSED[matrix]]
    size = fused.shape[0] // len(group)
    place = group.index(matrix) * size
    return fused[place : place + size]


def initial_std(spec: ModelSpec) -> float:
    """INITIAL_GAIN / sqrt(width). transformers' .02 is meant for widths near 1,000 and costs 10 to 20 % of the
    reducible loss at widths 12 to 24; gains from .35 to .7 are equal within the seeds' spread."""
    return INITIAL_GAIN / math.sqrt(spec.width)


def initial(spec: ModelSpec, seed: int) -> Parameters:
    """Fresh weights N(0, initial_std^2), gains 1, as transformers does; drawn from our own counter-based stream."""
    new = Parameters(spec)
    draw = stream(seed, "initial weights")
    new.flat.copy_(torch.from_numpy(draw.standard_normal(new.flat.numel(), dtype="float32"))).mul_(initial_std(spec))
    for gain in [new.norm, *(layer.norm1 for layer in new.layers), *(layer.norm2 for layer in new.layers)]:
        gain.fill_(1.0)
    return new


def initial_adapters(spec: ModelSpec, adapter: AdapterSpec, seed: int) -> Adapters:
    """peft's default: A uniform in +-1/sqrt(in) (Kaiming, slope sqrt 5), B zero: the policy starts as the base."""
    new = Adapters(spec, adapter)
    draw = stream(seed, "initial adapters")
    for pairs in new.layers:
        for a, _ in pairs.values():
            uniform = torch.from_numpy(draw.random(a.shape, dtype="float32"))
            a.copy_(uniform.mul_(2).sub_(1).div_(math.sqrt(a.shape[1])))
    return new


def build(spec: ModelSpec, seed: int = 0, tensors: Mapping[str, Tensor] | None = None) -> Any:
    """An untouched transformers `LlamaForCausalLM` with fresh weights of `seed`, or with `tensors`."""
    from transformers import LlamaConfig, LlamaForCausalLM

    check(spec)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=spec.vocab,
            hidden_size=spec.width,
            intermediate_size=spec.ffn,
            num_hidden_layers=spec.layers,
            num_attention_heads=spec.heads,
            num_key_value_heads=spec.heads,
            tie_word_embeddings=True,
            rms_norm_eps=NORM_EPS,
            max_position_embeddings=128,
            initializer_range=initial_std(spec),
            rope_parameters={"rope_type": "default", "rope_theta": spec.rope_theta},
            attention_bias=False,
            bos_token_id=None,
            eos_token_id=None,
            pad_token_id=None,
        )
    )
    tensors = initial(spec, seed).named() if tensors is None else tensors
    with torch.no_grad():
        _copy({n: p for n, p in model.named_parameters() if n != "lm_head.weight"}, tensors)
    return model.eval()


def build_adapted(
    spec: ModelSpec, adapter: AdapterSpec, base: Mapping[str, Tensor], tensors: Mapping[str, Tensor]
) -> Any:
    """A peft `PeftModel` over the transformers model with weights `base`, its LoRA factors set to `tensors`."""
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

    model = get_peft_model(
        build(spec, tensors=base),
        LoraConfig(
            r=adapter.rank,
            lora_alpha=adapter.alpha,
            target_modules=list(adapter.targets),
            lora_dropout=0.0,
            bias="none",
            task_type="CAUSAL_LM",
        ),
    )
    outcome = set_peft_model_state_dict(model, dict(tensors))
    if outcome.unexpected_keys:
        raise InputError(f"adapter tensor {outcome.unexpected_keys[0]!r} does not belong to this model")
    return model.eval()


def check(spec: ModelSpec) -> None:
    if spec.width % spec.heads or spec.head_dim % 2:
        raise InputError(f"width {spec.width} does not split into {spec.heads} heads of even size")
    if not 1 <= spec.outputs <= spec.vocab:
        raise InputError(f"output alphabet {spec.outputs} is outside the vocabulary of {spec.vocab}")


def _copy(views: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> None:
    for name, view in views.items():
        if name not in tensors or tensors[name].shape != view.shape:
            found = f"shape {tuple(tensors[name].shape)}" if name in tensors else "nothing"
            raise InputError(f"tensor {name!r} should have shape {tuple(view.shape)}, found {found}")
        view.copy_(tensors[name])
