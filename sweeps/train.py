"""Training: one trial to its end, and the pre-training loop; reinforcement learning is in reinforce.py.

Legend: Q predicted tokens, V output alphabet.

Both loops are deterministic functions of (specification, base weights): data and sampling streams are counted by step,
so a run resumed from a checkpoint equals the unbroken one bit for bit on one thread. No files, no prints: `log` and
`save` belong to the caller.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from scaling.errors import InputError
from scaling.trials import TrialSpec
from sweeps import executed
from sweeps.batches import Corpus
from sweeps.gradients import Weights
from sweeps.models import Parameters, initial
from sweeps.network import backward, fold, forward
from sweeps.optim import Diverged, Guard, rate
from sweeps.reinforce import reinforce
from sweeps.runs import Checkpoint, Log, Run, Save, Trace, Trained, Upkeep
from sweeps.tasks import Task, task_of

__all__ = ["Checkpoint", "Diverged", "Trained", "pretrain", "reinforce", "train"]


def train(
    spec: TrialSpec,
    *,
    base: Mapping[str, Tensor] | None = None,
    resume: Checkpoint | None = None,
    log: Log = lambda row: None,
    save: Save = lambda checkpoint: None,
    every: int = 0,
    device: str = "cpu",
    trace: Trace = lambda row: None,
) -> Trained:
    """Run one trial to its end. `base` holds the parent's weights (RL trials); the others are those of `Upkeep`.

    On `device` "cuda" products are bfloat16 and sums of gradients come in any order: not bit for bit the same again.

    Raises `Diverged` when the numbers leave the rails, `InputError` when specification and task do not fit.
    """
    task = task_of(spec.task)
    _check(spec, task)
    upkeep = Upkeep(resume, log, save, every, device, trace)
    # moments of rare operations decay into denormal numbers and would stay there: slow on some processors
    torch.set_flush_denormal(True)
    try:
        if spec.stage == "pretrain":
            return pretrain(spec, task, upkeep)
        if base is None:
            raise InputError(f"RL trial {spec.id} needs the weights of its parent {spec.base.id}")
        return reinforce(spec, task, base, upkeep)
    finally:
        torch.set_flush_denormal(False)


@torch.no_grad()
def pretrain(spec: TrialSpec, task: Task, upkeep: Upkeep) -> Trained:
    """Next-token cross entropy on the demonstrations' completions, mean over the tokens of a step."""
    weights, gradient = (x.to(upkeep.device) for x in (initial(spec.model, spec.seed), Parameters(spec.model)))
    sink = Weights(weights, gradient)
    run = Run(spec, weights, upkeep, Guard(spec.optim.warmup * spec.steps))
    corpus = Corpus(task, spec.seed, spec.batch, spec.steps, ahead=upkeep.device != "cpu")
    for step in range(run.step, spec.steps):
        batch = corpus[step].to(weights.flat.device)
        net = fold(weights)
        done = forward(net, batch.tokens, batch.plan)
        loss, dlogits_VQ = cross_entropy(done.logits_VQ, batch.targets_Q)
        sink.finish(*backward(net, done, dlogits_VQ, sink), batch.tokens)
        lr = rate(spec.optim, step, spec.steps)
        norm, clipped = run.adam.step(gradient.flat, lr)
        run.watch(loss, norm, clipped)
        shape = spec.model, batch.plan, len(batch.tokens.distinct_U)
        run.flop += executed.forward_flop(*shape, device=batch.device)
        run.flop += executed.backward_flop(*shape, device=batch.device)
        run.guard.check(step, loss, norm)
        if run.due:
            run.record({"loss": loss, "lr": lr, "grad_norm": norm})
        run.advance()
    return run.trained()


def cross_entropy(logits_VQ: Tensor, targets_Q: Tensor) -> tuple[float, Tensor]:
    """Mean of -log softmax at the targets, and its gradient (softmax - onehot) / Q."""
    logp_VQ = torch.log_softmax(logits_VQ, dim=0)
    at = targets_Q[None]
    loss = -logp_VQ.gather(0, at).mean().item()
    dlogits_VQ = logp_VQ.exp_()
    dlogits_VQ.scatter_add_(0, at, torch.full_like(at, -1, dtype=torch.float32))
    return loss, dlogits_VQ.div_(len(targets_Q))


def _check(spec: TrialSpec, task: Task) -> None:
    if (spec.model.outputs, spec.model.vocab) != (task.outputs, task.vocab):
        raise InputError(
            f"model has {spec.model.outputs} of {spec.model.vocab} tokens as outputs, task "
            f"{spec.task.name} has {task.outputs} of {task.vocab}",
            "take both from the task",
        )
    if spec.optim.schedule == "constant" and spec.optim.warmup:
        raise InputError(
            "a constant learning rate takes no warm-up share",
            "such a run may be extended, and its share of more steps would differ: set warmup = 0",
        )
    if spec.grpo and spec.batch != spec.grpo.prompts * spec.grpo.group:
        raise InputError(f"batch {spec.batch} is not {spec.grpo.prompts} prompts x {spec.grpo.group} completions")
