"""The fast network against transformers and peft: same numbers, same gradients, same names."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, replace

import pytest
import torch

from scaling.errors import InputError
from scaling.trials import AdapterSpec, ModelSpec
from sweeps import attention, network
from sweeps.attention import BATCHED, BROADCAST
from sweeps.batches import Batch, arrange, corpus
from sweeps.gradients import Factors, Weights, takes_factors
from sweeps.models import Adapters, Parameters, build, build_adapted, initial, initial_adapters
from sweeps.network import backward, fold, forward
from sweeps.plans import Tokens, sum_by
from sweeps.tasks import task_of
from tests.sweeps.small import TASK, model, random_adapters, random_weights

ADAPTER = AdapterSpec(3, 6.0)
THIN = AdapterSpec(1, 6.0)  # so thin that its gradients come from the factors, at these widths
SOME = AdapterSpec(1, 8.0, ("q_proj", "v_proj", "down_proj"))


@dataclass
class Drawn:
    """Prompts with `group` completions each, of the given lengths, laid out; and as plain rows in the sorted order."""

    batch: Batch
    ids_BS: torch.Tensor

    @classmethod
    def of(cls, lengths: list[int], *, group: int = 1, longest: int = 5, prompt: int = 6) -> Drawn:
        draw = torch.Generator().manual_seed(1)
        prompts = torch.randint(0, 64, (len(lengths) // group, prompt), generator=draw)
        completions = torch.randint(0, 24, (len(lengths), longest), generator=draw)
        mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
        batch = arrange(prompts, completions, mask)
        return cls(batch, torch.cat((prompts.repeat_interleave(group, 0), completions), 1)[batch.order])

    def wanted(self, logits_BTV: torch.Tensor, outputs: int = 24) -> torch.Tensor:
        """What predicts a token, of a plain (B, T, V) result, as (V, Q)."""
        first, counts = self.batch.plan.prompt_tokens - 1, self.batch.plan.counts
        return torch.cat([logits_BTV[:n, first + i, :outputs] for i, n in enumerate(counts)]).t()


DRAWN = {
    "ragged": Drawn.of([5, 1, 4, 3, 3, 2, 3]),
    "even": Drawn.of([5, 5, 5, 5]),
    "short": Drawn.of([2, 1, 1, 2]),
    "single tokens": Drawn.of([1, 1, 1]),
    "one position": Drawn.of([3, 2, 1], prompt=1),
    "groups": Drawn.of([5, 1, 4, 3, 3, 2], group=3),
    "one group": Drawn.of([4, 1, 4, 3], group=4),
}
WAYS = pytest.mark.parametrize("way", [BROADCAST, BATCHED], ids=["broadcast", "batched"])


@WAYS
@pytest.mark.parametrize("drawn", DRAWN.values(), ids=DRAWN)
@pytest.mark.parametrize("spec", [model(1), model(2, 16, 4), model(3, 12, 1)], ids=["1", "2", "3"])
def test_logits_and_every_gradient_equal_transformers(spec, drawn, way, monkeypatch):
    monkeypatch.setattr(network, "attention", lambda *_: way)
    weights = random_weights(spec)
    reference = build(spec, tensors=weights.tensors())
    expected = drawn.wanted(reference(drawn.ids_BS[:, :-1]).logits)
    net, batch = fold(weights), drawn.batch
    done = forward(net, batch.tokens, batch.plan)
    assert torch.allclose(done.logits_VQ, expected, atol=2e-5)

    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2))
    (expected * direction).sum().backward()
    gradient = Parameters(spec)
    sink = Weights(weights, gradient)
    sink.finish(*backward(net, done, direction, sink), batch.tokens)
    named = gradient.named()
    for name, parameter in reference.named_parameters():
        assert torch.allclose(named[name], parameter.grad, rtol=1e-4, atol=4e-5 * parameter.grad.abs().max()), name


@WAYS
@pytest.mark.parametrize("adapter", [ADAPTER, THIN, SOME], ids=["all", "thin", "some"])
@pytest.mark.parametrize("layers", [1, 2])
def test_adapted_logits_and_gradients_equal_peft(layers, adapter, way, monkeypatch):
    monkeypatch.setattr(network, "attention", lambda *_: way)
    spec, drawn = model(layers, 16, 4), DRAWN["groups"]
    weights, adapters = random_weights(spec), random_adapters(spec, adapter)
    assert ("qkv" in takes_factors(spec, adapter)) == (adapter is not ADAPTER)
    reference = build_adapted(spec, adapter, weights.tensors(), adapters.tensors())
    expected = drawn.wanted(reference(drawn.ids_BS[:, :-1]).logits)
    net, batch = fold(weights, adapters), drawn.batch
    done = forward(net, batch.tokens, batch.plan)
    assert torch.allclose(done.logits_VQ, expected, atol=2e-5)

    direction = torch.randn(expected.shape, generator=torch.Generator().manual_seed(2))
    for name, parameter in reference.named_parameters():
        parameter.requires_grad_("lora_" in name)
    (expected * direction).sum().backward()
    gradient = Adapters(spec, adapter)
    backward(net, done, direction, Factors(weights, adapters, gradient), embedding=False)
    named = gradient.named()
    learned = {n.replace(".default", ""): p for n, p in reference.named_parameters() if p.requires_grad}
    assert learned.keys() == named.keys()
    for name, parameter in learned.items():
        assert torch.allclose(named[name], parameter.grad, rtol=1e-4, atol=4e-5 * parameter.grad.abs().max()), name


@WAYS
def test_half_precision_is_near_and_keeps_float32_where_it_counts(way, monkeypatch):
    """What a GPU computes in: products and activations in bfloat16; gradients and logits come out as float32."""
    monkeypatch.setattr(network, "attention", lambda *_: way)
    spec, batch = model(2, 16, 4), DRAWN["groups"].batch
    weights = initial(spec, 3)
    direction = torch.randn(24, len(batch.targets_Q), generator=torch.Generator().manual_seed(2))
    found = []
    for dtype in (torch.float32, torch.bfloat16):
        net, gradient = fold(weights, dtype=dtype), Parameters(spec)
        done, sink = forward(net, batch.tokens, batch.plan), Weights(weights, gradient)
        sink.finish(*backward(net, done, direction, sink), batch.tokens)
        found.append((done.logits_VQ, gradient.flat))
        assert done.h.dtype == dtype
    logits = found[1][0]
    assert not torch.equal(logits, logits.bfloat16().float())  # the head multiplies in float32
    for exact, near in zip(*found, strict=True):
        assert exact.dtype == near.dtype == torch.float32
        assert 0 < torch.linalg.vector_norm(near - exact) < 0.03 * torch.linalg.vector_norm(exact)


def test_nothing_stays_behind_on_another_device():
    """Forward and backward on a pretended device: torch refuses tensors of different devices there as it does on a real
    one."""
    from torch._subclasses import FakeTensorMode

    spec, device, ones = model(2, 16, 4), torch.device("meta"), torch.ones_like
    batches = corpus(task_of(TASK), 0, 0, 12)[0], DRAWN["groups"].batch
    with FakeTensorMode() as pretended, torch.no_grad():
        weights, gradients = Parameters(spec).to(device), Parameters(spec).to(device)
        adapters, factors = Adapters(spec, ADAPTER).to(device), Adapters(spec, ADAPTER).to(device)
        net, fake = fold(weights, adapters, dtype=torch.bfloat16), pretended.from_tensor
        for batch in batches:
            group = batch.plan.group_B
            plan = replace(batch.plan, group_B=None if group is None else fake(group))
            tokens = Tokens(fake(batch.tokens.distinct_U), fake(batch.tokens.place_C))
            there = Batch(tokens, fake(batch.targets_Q), plan, fake(batch.order)).to(device)
            done = forward(net, there.tokens, there.plan)
            assert there.spread(done.logits_VQ[0]).device == device
            sink = Weights(weights, gradients)
            sink.finish(*backward(net, done, ones(done.logits_VQ), sink), there.tokens)
            backward(net, done, ones(done.logits_VQ), Factors(weights, adapters, factors), embedding=False)
    for kept in (attention._causal, attention.angles, attention.rotation):
        kept.cache_clear()  # what they hold belongs to the pretended device


def test_sums_by_place_are_of_float32():
    """2,000 ones in bfloat16, added one by one, stop at 256."""
    ones = torch.ones(3, 2000, dtype=torch.bfloat16)
    assert sum_by(torch.zeros(2000, dtype=torch.long), ones, 1).flatten().tolist() == [2000.0] * 3


def test_checkpoints_load_with_transformers_and_peft(tmp_path):
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors.torch import save_file
    from transformers import LlamaForCausalLM

    spec = model(2)
    weights, adapters = random_weights(spec), random_adapters(spec, ADAPTER)
    built = build(spec, tensors=weights.tensors())
    built.config.save_pretrained(tmp_path)
    save_file(weights.tensors(), tmp_path / "model.safetensors")
    loaded, report = LlamaForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    ids = DRAWN["even"].ids_BS
    assert torch.equal(loaded(ids).logits, built(ids).logits)
    assert type(loaded) is type(built) is LlamaForCausalLM

    adapted = build_adapted(spec, ADAPTER, weights.tensors(), adapters.tensors())
    assert {n: t.shape for n, t in get_peft_model_state_dict(adapted).items()} == {
        n: t.shape for n, t in adapters.named().items()
    }
    adapted.save_pretrained(tmp_path / "adapter")
    save_file(adapters.tensors(), tmp_path / "adapter" / "adapter_model.safetensors")
    again = PeftModel.from_pretrained(built, tmp_path / "adapter")
    assert torch.equal(again(ids).logits, adapted(ids).logits)


def test_fresh_adapters_change_nothing_and_fresh_weights_follow_the_seed():
    spec = model(2)
    weights, batch = initial(spec, 3), DRAWN["even"].batch
    plain, adapted = (
        forward(net, batch.tokens, batch.plan).logits_VQ
        for net in (fold(weights), fold(weights, initial_adapters(spec, ADAPTER, 1)))
    )
    assert torch.equal(plain, adapted)
    assert torch.equal(weights.flat, initial(spec, 3).flat)
    assert not torch.equal(weights.flat, initial(spec, 4).flat)
    a, b = initial_adapters(spec, ADAPTER, 1).layers[0]["down_proj"]
    assert a.abs().max() <= spec.ffn**-0.5
    assert b.abs().max() == 0


def test_tensors_survive_the_round_trip_and_wrong_ones_are_refused():
    spec = model(2)
    weights = random_weights(spec)
    assert torch.equal(Parameters.of(spec, weights.tensors()).flat, weights.flat)
    with pytest.raises(InputError, match=r"embed_tokens.*shape"):
        Parameters.of(model(2, 16), weights.tensors())
    with pytest.raises(InputError, match="found nothing"):
        Parameters.of(model(3), weights.tensors())
    with pytest.raises(InputError, match="target"):
        Adapters(spec, AdapterSpec(2, 4.0, ("q_proj", "lm_head")))
    with pytest.raises(InputError, match="heads"):
        Parameters(ModelSpec(1, 9, 2, 36, 64, 24))


def test_large_scores_stay_finite():
    """A softmax without its maximum taken out overflows here."""
    spec, batch = model(1), DRAWN["ragged"].batch
    weights, gradient = random_weights(spec), Parameters(spec)
    weights.layers[0].qkv.mul_(1e3)
    net, sink = fold(weights), Weights(weights, gradient)
    done = forward(net, batch.tokens, batch.plan)
    sink.finish(*backward(net, done, torch.ones_like(done.logits_VQ), sink), batch.tokens)
    assert done.logits_VQ.isfinite().all()
    assert gradient.flat.isfinite().all()


def test_training_needs_no_transformers():
    """A worker starts in the time that torch takes; transformers and peft cost seconds more."""
    code = "import sys, sweeps.train, sweeps.evaluate; print({'transformers', 'peft'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
