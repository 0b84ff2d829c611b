"""FLOPs of a trial, as specified: the axis of every fit, plan and prediction ("algorithmic-v1").

Per sequence of S = P + R tokens (prompt and response), with N_m matmul parameters (head included, embedding look-up
left out), N_l adapter parameters and a(S) = 2 L n_q d_head S^2 for causal forward attention:

    generation                  2 (N_m + N_l) S + a
    reference log-probs         2 N_m S + a                 if the KL weight beta > 0
    old-policy log-probs        2 (N_m + N_l) S + a         if a batch is used more than once (mu > 1)
    forward and backward, x mu  (4 N_m + 6 N_l) S + 3 a     pre-training: 6 N_m S + 3 a

No group is skipped, no adapter merged, every position of the fixed lengths counts: what the specification asks for.
What the implementation really executes is another column (`executed_flop`). Evaluation is counted apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scaling.trials import ModelSpec, TrialSpec

DEFINITION, SIX_ND = "algorithmic-v1", "6ND"


def six_nd(n: Any, d: Any) -> Any:
    """C = 6 N D, FLOP of forward and backward pass without attention: of tables that state N and D only. Source: Kaplan
    et al. (2020), arXiv 2001.08361, section 2.1."""
    return 6.0 * n * d


@dataclass(frozen=True)
class ComputeBreakdown:
    """FLOPs of a whole trial by part, float64 (6 N D overflows 64-bit integers silently)."""

    training: float = 0.0
    generation: float = 0.0
    reference: float = 0.0
    old_policy: float = 0.0

    @property
    def total(self) -> float:
        return self.training + self.generation + self.reference + self.old_policy


def attention_flop(model: ModelSpec, tokens: int) -> float:
    """a(S): scores and weighted sum of causal attention, forward, for one sequence."""
    return 2.0 * model.layers * model.width * float(tokens) ** 2


def trial_flop(spec: TrialSpec) -> ComputeBreakdown:
    """Algorithmic FLOPs of one trial, without its parent's."""
    length, sequences = float(spec.task.sequence_tokens), float(spec.steps) * spec.batch
    weights, attention = float(spec.model.matmul_parameters), attention_flop(spec.model, spec.task.sequence_tokens)
    if spec.stage == "pretrain":
        return ComputeBreakdown(training=sequences * (6 * weights * length + 3 * attention))
    assert spec.adapter and spec.grpo
    adapter, updates = float(spec.adapter.parameters(spec.model)), spec.grpo.updates
    adapted = 2 * (weights + adapter) * length + attention
    return ComputeBreakdown(
        training=sequences * updates * ((4 * weights + 6 * adapter) * length + 3 * attention),
        generation=sequences * adapted,
        reference=sequences * (2 * weights * length + attention) if spec.grpo.beta > 0 else 0.0,
        old_policy=sequences * adapted if updates > 1 else 0.0,
    )


def evaluation_flop(spec: TrialSpec) -> float:
    """Forward passes of one evaluation: held-out sequences, problems by teacher forcing, and the completions
    drawn on top."""
    e = spec.evaluation
    passes = e.sequences + e.problems * (1 + e.samples)
    return passes * (
        2.0 * spec.model.matmul_parameters * spec.task.sequence_tokens
        + attention_flop(spec.model, spec.task.sequence_tokens)
    )


def inputs_of(spec: TrialSpec) -> dict[str, float]:
    """The named inputs of a trial that its specification fixes: N, D, C_pre, C_rl, C_total, rollouts, steps."""
    base = spec.base
    pre = trial_flop(base).total
    rl = trial_flop(spec).total if spec.stage == "rl" else 0.0
    return {
        "N": float(spec.model.body_parameters),
        "D": float(base.steps) * base.batch * base.task.sequence_tokens,
        "C_pre": pre,
        "C_rl": rl,
        "C_total": pre + rl,
        "rollouts": float(spec.steps) * spec.batch if spec.stage == "rl" else 0.0,
        "steps": float(spec.steps),
    }
