"""The losses against TRL's GRPOTrainer: same loss, same gradient of every LoRA factor, same reports.

One real trainer is built, offline, around a small Llama with LoRA; each case sets its options as `GRPOConfig` would
and calls its loss on a hand-made batch: prompts of unequal length padded on the left, completions of unequal length
padded on the right, tokens sampled by another policy. Our side reads every sequence alone and unpadded, from an
untouched transformers and peft model, or packed by our own network. TRL's defaults are other ones: loss "dapo",
beta 0, KL times the importance ratio, rewards scaled "batch" by the std of the plain rewards.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass

import pytest
import torch

from scaling.trials import AdapterSpec, GRPOSpec, ModelSpec, scalerl
from sweeps.batches import arrange
from sweeps.gradients import Factors
from sweeps.grpo import signal, token_logprobs
from sweeps.losses import LOSSES, clip_high, objective
from sweeps.models import Adapters, build_adapted, initial
from sweeps.network import backward, fold, forward
from tests.sweeps.small import random_adapters

MODEL, ADAPTER = ModelSpec(2, 16, 4, 32, 24, 24), AdapterSpec(3, 6.0)
PROMPTS, GROUP, P, T = 3, 3, 6, 5
TEMPERATURE = 0.7
TRL_NAMES = {"grpo_sequence": "grpo", "scalerl": "cispo"}  # where TRL spells a loss otherwise
CLOSE = 1e-6


@dataclass(frozen=True)
class Hand:
    """A batch: ids (B, P + T), number of prompt and completion tokens per row, and what other policies said (B, T)."""

    ids: torch.Tensor
    prompt_B: list[int]
    completion_B: list[int]
    rewards: torch.Tensor
    shift: torch.Tensor  # old log-prob minus the policy's, and the same for the reference
    shift_reference: torch.Tensor

    @property
    def mask(self) -> torch.Tensor:
        return (torch.arange(T) < torch.tensor(self.completion_B)[:, None]).float()


def hand(prompt_lengths: list[int]) -> Hand:
    draw = torch.Generator().manual_seed(5)
    rows = PROMPTS * GROUP
    ids = torch.randint(1, MODEL.vocab, (PROMPTS, P), generator=draw).repeat_interleave(GROUP, 0)
    ids = torch.cat((ids, torch.randint(1, MODEL.vocab, (rows, T), generator=draw)), 1)
    shifts = (0.4 * torch.randn(rows, T, generator=draw) for _ in range(2))
    rewards = torch.tensor([[1.0, 0, 0], [1, 1, 1], [0, 1, 1]])
    lengths = [5, 2, 3, 1, 5, 4, 4, 3, 1]
    return Hand(ids, [n for n in prompt_lengths for _ in range(GROUP)], lengths, rewards, *shifts)


UNEQUAL, EQUAL = hand([3, 6, 4]), hand([P] * PROMPTS)


@pytest.fixture(scope="module")
def weights():
    adapters = random_adapters(MODEL, ADAPTER)
    adapters.flat.mul_(0.3)
    return initial(MODEL, 0), adapters


@pytest.fixture(scope="module")
def trainer(weights, tmp_path_factory):
    """A GRPOTrainer; any attempt to reach a network fails."""

    def refuse(*args):
        raise OSError("this test reaches no network")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(socket.socket, "connect", refuse)
        yield build_trainer(weights, str(tmp_path_factory.mktemp("trl")))


def build_trainer(weights, folder: str):
    from datasets import Dataset
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    words = {f"t{i}": i for i in range(MODEL.vocab)}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel(words, unk_token="t0")), eos_token="t0", pad_token="t0"
    )
    base, adapters = weights
    made = GRPOTrainer(
        build_adapted(MODEL, ADAPTER, base.tensors(), adapters.tensors()),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=GRPOConfig(
            folder,
            per_device_train_batch_size=PROMPTS * GROUP,
            num_generations=GROUP,
            max_completion_length=T,
            temperature=TEMPERATURE,
            use_cpu=True,
            bf16=False,
            report_to=[],
        ),
        train_dataset=Dataset.from_list([{"prompt": "t1"}]),
        processing_class=tokenizer,
    )
    made.current_gradient_accumulation_steps = 1  # set by the training loop, which is not run
    made.model.train()
    return made


@pytest.fixture(scope="module")
def plain(weights):
    """An untouched peft model with the same weights, gradients for the LoRA factors only."""
    base, adapters = weights
    model = build_adapted(MODEL, ADAPTER, base.tensors(), adapters.tensors())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    return model


@pytest.fixture(scope="module")
def logprobs(plain):
    """Log-probs (B, T) of the unequal batch with their graph, each sequence read alone and unpadded."""
    rows = []
    for ids, prompt, completion in zip(UNEQUAL.ids, UNEQUAL.prompt_B, UNEQUAL.completion_B, strict=True):
        logits = plain(ids[None, P - prompt : P + completion]).logits[0, prompt - 1 : -1] / TEMPERATURE
        chosen = token_logprobs(logits.t(), ids[P : P + completion])
        rows.append(torch.nn.functional.pad(chosen, (0, T - completion)))
    return torch.stack(rows)


def gradients(model) -> dict[str, torch.Tensor]:
    return {n.replace(".default", ""): p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}


def trl_loss(trainer, g: GRPOSpec, batch: Hand, old, reference, advantages_B, rows=slice(None)) -> float:
    """Loss of TRL's trainer under the options that mean `g`; gradients are added to its model's."""
    trainer.loss_type = trainer.args.loss_type = TRL_NAMES.get(g.loss, g.loss)
    trainer.importance_sampling_level = LOSSES[g.loss].level
    trainer.beta, trainer.epsilon_low, trainer.epsilon_high = g.beta, g.clip, clip_high(g)
    trainer.args.use_bias_correction_kl = g.unbiased_kl
    first = torch.tensor([P - n for n in batch.prompt_B])
    mask = batch.mask.long()
    inputs = {
        "prompt_ids": batch.ids[:, :P],
        "prompt_mask": (torch.arange(P) >= first[:, None]).long(),
        "completion_ids": batch.ids[:, P:] * mask,
        "completion_mask": mask,
        "advantages": advantages_B,
        "ref_per_token_logps": reference,
    }
    if old is not None:
        inputs["old_per_token_logps"] = old
    inputs = {name: tensor[rows] for name, tensor in inputs.items()}
    inputs["prompt_ids"] = inputs["prompt_ids"] * inputs["prompt_mask"]
    loss = trainer._compute_loss(trainer.model, inputs | {"num_items_in_batch": inputs["completion_mask"].sum()})
    loss.backward()
    return loss.item()


def assert_close(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert max(gradient.abs().max() for gradient in theirs.values()) > 1e-2
    for name, gradient in theirs.items():
        assert (ours[name] - gradient).abs().max() < CLOSE, name


CASES = [GRPOSpec(PROMPTS, GROUP, beta, loss=name) for name in LOSSES if name != "scalerl" for beta in (0.0, 0.04)] + [
    GRPOSpec(PROMPTS, GROUP, 0.04, loss="grpo", unbiased_kl=True),
    GRPOSpec(PROMPTS, GROUP, 0.04, loss="grpo_sequence", unbiased_kl=True),
    GRPOSpec(PROMPTS, GROUP, 0.0, loss="cispo", clip_high=1.2),
    GRPOSpec(PROMPTS, GROUP, 0.0, loss="grpo_sequence", clip=0.05, clip_high=0.07),
    GRPOSpec(PROMPTS, GROUP, 0.0, loss="dapo", advantage="batch"),
]


@pytest.mark.parametrize("off_policy", [False, True], ids=["on policy", "off policy"])
@pytest.mark.parametrize("g", CASES, ids=lambda g: f"{g.loss}-{g.beta}-{g.clip_high}-{g.unbiased_kl}-{g.advantage}")
def test_loss_and_lora_gradients_equal_trl(trainer, plain, logprobs, g, off_policy):
    old = logprobs.detach() + off_policy * UNEQUAL.shift * UNEQUAL.mask
    reference = logprobs.detach() + UNEQUAL.shift_reference * UNEQUAL.mask
    advantages_B, weights_BT = signal(g, UNEQUAL.rewards, UNEQUAL.mask)
    plain.zero_grad()
    ours = objective(g, logprobs, old, reference if g.beta else None, advantages_B, weights_BT, UNEQUAL.mask)
    ours.loss.backward(retain_graph=True)
    trainer.model.zero_grad()
    theirs = trl_loss(trainer, g, UNEQUAL, old if off_policy else None, reference, advantages_B)
    assert ours.loss.item() == pytest.approx(theirs, abs=CLOSE)
    assert_close(gradients(plain), gradients(trainer.model))
    reports = trainer._metrics["train"]
    if g.beta and not g.unbiased_kl:
        assert ours.kl.item() == pytest.approx(reports["kl"][-1], abs=CLOSE)
    if g.loss in ("grpo", "bnpo", "dr_grpo", "dapo"):
        assert ours.clipped.item() == pytest.approx(reports["clip_ratio/region_mean"][-1], abs=CLOSE)
        assert (ours.clipped.item() > 0) is off_policy


def test_the_batch_tells_the_losses_apart(logprobs):
    old = logprobs.detach() + UNEQUAL.shift * UNEQUAL.mask
    losses = []
    for g in [GRPOSpec(PROMPTS, GROUP, 0.0, loss=name) for name in LOSSES] + CASES[-3:]:
        parts = signal(g, UNEQUAL.rewards, UNEQUAL.mask)
        losses.append(objective(g, logprobs, old, None, *parts, UNEQUAL.mask).loss.item())
    assert min(abs(a - b) for i, a in enumerate(losses) for b in losses[:i]) > 100 * CLOSE, losses


def test_scalerl_is_trls_cispo_of_one_prompt_after_the_other(trainer, plain, logprobs):
    """The mean over the prompts that have a signal of TRL's cispo on the completions of that prompt alone."""
    g = scalerl(PROMPTS, GROUP)
    old = logprobs.detach() + UNEQUAL.shift * UNEQUAL.mask
    advantages_B, weights_BT = signal(g, UNEQUAL.rewards, UNEQUAL.mask)
    plain.zero_grad()
    ours = objective(g, logprobs, old, None, advantages_B, weights_BT, UNEQUAL.mask).loss
    ours.backward(retain_graph=True)
    trainer.model.zero_grad()
    rows = [slice(n * GROUP, (n + 1) * GROUP) for n in (0, 2)]  # all of the second prompt's completions pass
    losses = [trl_loss(trainer, g, UNEQUAL, old, old, advantages_B, r) for r in rows]
    assert ours.item() == pytest.approx(sum(losses) / 2, abs=CLOSE)
    assert_close(gradients(plain), {n: gradient / 2 for n, gradient in gradients(trainer.model).items()})


@pytest.mark.parametrize(
    "g",
    [
        GRPOSpec(PROMPTS, GROUP, 0.04, temperature=TEMPERATURE),
        GRPOSpec(PROMPTS, GROUP, 0.0, temperature=TEMPERATURE, loss="cispo"),
    ],
    ids=lambda g: g.loss,
)
def test_the_network_gives_trls_gradients(trainer, weights, g):
    """From ids to LoRA gradients by our own forward and backward pass, no part of transformers in it."""
    base, adapters = weights
    batch, mask = arrange(EQUAL.ids[::GROUP, :P], EQUAL.ids[:, P:], EQUAL.mask.bool()), EQUAL.mask
    net = fold(base, adapters)
    with torch.no_grad():
        done = forward(net, batch.tokens, batch.plan)
        logits = done.logits_VQ
    logits.requires_grad_()
    logprobs = batch.spread(token_logprobs(logits / g.temperature, batch.targets_Q))
    inverse = torch.argsort(batch.order)
    old, reference = (logprobs.detach()[inverse] + s * mask for s in (EQUAL.shift, EQUAL.shift_reference))
    advantages_B, weights_BT = signal(g, EQUAL.rewards, mask)
    ours = objective(g, logprobs, *(t[batch.order] for t in (old, reference, advantages_B, weights_BT, mask))).loss
    (dlogits,) = torch.autograd.grad(ours, logits)
    gradient = Adapters(MODEL, ADAPTER)
    with torch.no_grad():
        backward(net, done, dlogits, Factors(base, adapters, gradient), embedding=False)
    trainer.model.zero_grad()
    theirs = trl_loss(trainer, g, EQUAL, old, reference, advantages_B)
    assert ours.item() == pytest.approx(theirs, abs=CLOSE)
    assert_close(gradient.named(), gradients(trainer.model))
