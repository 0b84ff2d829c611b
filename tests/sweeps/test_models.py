"""The fast network against transformers and peft: same numbers, same gradients, same names."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from scaling.errors import InputError
from scaling.trials import AdapterSpec, ModelSpec
from sweeps.models import Adapters, Parameters, build, build_adapted, initial, initial_adapters
from sweeps.network import backward, fold, forward, unfold, unfold_adapters
from sweeps.plans import Plan, Tokens
from tests.sweeps.small import model, random_adapters, random_weights

PLANS = [
    Plan(7, 10, 5, (7, 7, 5, 2, 1)),
    Plan(4, 10, 5, (4,) * 5),
    Plan(3, 10, 0, (3,) * 10),
    Plan(5, 6, 5, (5,)),
    Plan(4, 10, 5, (4, 2, 0, 0, 0)),
]
ADAPTER = AdapterSpec(3, 6.0)
SOME = AdapterSpec(2, 8.0, ("q_proj", "v_proj", "down_proj"))


def inputs(plan: Plan) -> torch.Tensor:
    return torch.randint(0, 64, (plan.positions, plan.batch), generator=torch.Generator().manual_seed(1))


def wanted(logits_BTV: torch.Tensor, plan: Plan, outputs: int = 24) -> torch.Tensor:
    """The plan's columns of a plain (B, T, V) result, as (V, Q)."""
    return torch.cat([logits_BTV[:n, plan.first + i, :outputs] for i, n in enumerate(plan.counts)]).t()


@pytest.mark.parametrize("plan", PLANS, ids=str)
@pytest.mark.parametrize("spec", [model(1), model(2, 16, 4), model(3, 12, 1)], ids=["1", "2", "3"])
def test_logits_and_every_gradient_equal_transformers(spec, plan):
    weights = random_weights(spec)
    reference = build(spec, tensors=weights.tensors())
    ids_TB = inputs(plan)
    expected = wanted(reference(ids_TB.t()).logits, plan)
    net = fold(weights)
    logits, tapes, final = forward(net, Tokens.of(ids_TB), plan)
    assert torch.allclose(logits, expected, atol=1e-5)

    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
    (expected * direction).sum().backward()
    gradient = Parameters(spec)
    unfold(weights, *backward(net, tapes, final, direction), Tokens.of(ids_TB), gradient)
    named = gradient.named()
    for name, parameter in reference.named_parameters():
        assert torch.allclose(named[name], parameter.grad, rtol=1e-4, atol=2e-5 * parameter.grad.abs().max()), name


@pytest.mark.parametrize("adapter", [ADAPTER, SOME], ids=["all", "some"])
@pytest.mark.parametrize("layers", [1, 2])
def test_adapted_logits_and_gradients_equal_peft(layers, adapter):
    spec, plan = model(layers, 16, 4), PLANS[0]
    weights, adapters = random_weights(spec), random_adapters(spec, adapter)
    reference = build_adapted(spec, adapter, weights.tensors(), adapters.tensors())
    ids_TB = inputs(plan)
    expected = wanted(reference(ids_TB.t()).logits, plan)
    net = fold(weights, adapters)
    logits, tapes, final = forward(net, Tokens.of(ids_TB), plan)
    assert torch.allclose(logits, expected, atol=1e-5)

    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
    for name, parameter in reference.named_parameters():
        parameter.requires_grad_("lora_" in name)
    (expected * direction).sum().backward()
    gradient = Adapters(spec, adapter)
    unfold_adapters(weights, adapters, backward(net, tapes, final, direction, embedding=False)[0], gradient)
    named = gradient.named()
    learned = {n.replace(".default", ""): p for n, p in reference.named_parameters() if p.requires_grad}
    assert learned.keys() == named.keys()
    for name, parameter in learned.items():
        assert torch.allclose(named[name], parameter.grad, rtol=1e-4, atol=2e-5 * parameter.grad.abs().max()), name


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
    ids = inputs(PLANS[1]).t()
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
    weights, plan = initial(spec, 3), PLANS[1]
    ids_TB = inputs(plan)
    plain = forward(fold(weights), Tokens.of(ids_TB), plan)[0]
    assert torch.equal(plain, forward(fold(weights, initial_adapters(spec, ADAPTER, 1)), Tokens.of(ids_TB), plan)[0])
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
    spec, plan = model(1), PLANS[0]
    weights = random_weights(spec)
    weights.layers[0].qkv.mul_(1e3)
    net = fold(weights)
    logits, tapes, final = forward(net, Tokens.of(inputs(plan)), plan)
    grads, _, _ = backward(net, tapes, final, torch.ones_like(logits))
    assert logits.isfinite().all()
    assert grads[0].qkv.isfinite().all()


def test_training_needs_no_transformers():
    """A worker starts in the time that torch takes; transformers and peft cost seconds more."""
    code = "import sys, sweeps.train, sweeps.evaluate; print({'transformers', 'peft'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
