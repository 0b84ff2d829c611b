"""GRPO on LoRA: this engine against TRL's GRPOTrainer with peft, side by side.

    python benchmarks/grpo_vs_trl.py                       # 20k, 1M and 10M parameters, beta 0 and .05, one thread
    python benchmarks/grpo_vs_trl.py --sizes 20k --turns 12 --trl installed
    python benchmarks/grpo_vs_trl.py --device cuda --sizes 1M 10M 100M 500M

Both train the same weights on the same prompts, 32 x 8 completions of at most 32 tokens after 16 prompt tokens, all 64
tokens of the vocabulary as outputs, LoRA of rank 8 on every matrix, one update a batch. Each side has a process and one
thread of its own, and only one of them works at a time: some steps of TRL's, as many of ours, and so on (4 at 20k, 2 at
1M, else 1: the first step of a turn finds cold caches); the first two of each are not counted. TRL's reward function is
the same numpy code. On a GPU both compute in bfloat16.

    --trl tuned      no gradient checkpointing, no logging, no saving, no dropout (as it is quickest)
    --trl installed  gradient checkpointing as TRL sets it unless told otherwise
    tokens/s         completion tokens (up to <eos>) per second of whole steps: rollout, rewards, reference, update
    MB               peak memory of the process above that of the imported libraries; on a GPU, the GPU's
    ratio            ours over TRL's tokens/s: median of the pairs of turns
    half silent      half of the groups get equal rewards: ours skips their update where that is exact (beta = 0)
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from scaling.trials import AdapterSpec, GRPOSpec, ModelSpec, OptimSpec, TaskSpec, TrialSpec
from sweeps import memory
from sweeps.models import build, initial
from sweeps.reinforce import reinforce
from sweeps.runs import LOG_LINES, Upkeep
from sweeps.tasks import stream

PROMPT, RESPONSE, VOCAB, PROMPTS, GROUP, WARM = 16, 32, 64, 32, 8, 2
SIZES = {
    "20k": (2, 24, 6),  # layers, width, heads
    "1M": (4, 128, 4),
    "10M": (6, 320, 5),
    "100M": (10, 768, 12),
    "500M": (20, 1280, 20),
}


class RaceTask:
    """Random prompts; a reward that differs within a group (mean token id), or is equal in every second group."""

    vocab = outputs = VOCAB
    prompt_tokens, response_tokens, eos, filler, buckets = PROMPT, RESPONSE, 0, 1, ("all",)

    def __init__(self, silent: bool) -> None:
        self.silent = silent

    def prompts(self, seed: int, step: int, count: int) -> np.ndarray:
        prompts_GP = stream(seed, "race", step).integers(3, VOCAB, size=(count, PROMPT))
        prompts_GP[:, 0] = 3 + np.arange(count) % 2  # says whether the group has a signal
        return prompts_GP

    def rewards(self, prompts_BP: np.ndarray, completions_BR: np.ndarray) -> np.ndarray:
        ended_BR = np.cumsum(completions_BR == self.eos, axis=1) > 0
        score_B = np.where(ended_BR, 0, completions_BR).sum(1) / (VOCAB * RESPONSE)
        return np.where(self.silent & (prompts_BP[:, 0] == 3), 0.0, score_B).astype(np.float32)


Turn = Callable[[float], None]  # tells the tokens of a step that ended, and returns when the next may begin


def spec_of(size: str, beta: float, steps: int) -> TrialSpec:
    layers, width, heads = SIZES[size]
    model = ModelSpec(layers, width, heads, 4 * width, VOCAB, VOCAB, rope_theta=10_000.0)
    task = TaskSpec("race", 0, PROMPT, RESPONSE)
    optim = OptimSpec(1e-3, (0.9, 0.99), "constant", clip=0.0)
    base = TrialSpec("pretrain", task, model, optim, 1, 8)
    grpo = GRPOSpec(PROMPTS, GROUP, beta=beta)
    return replace(
        base, stage="rl", steps=steps, batch=PROMPTS * GROUP, parent=base, adapter=AdapterSpec(8, 16.0), grpo=grpo
    )


def run_ours(spec: TrialSpec, task: RaceTask, turn: Turn, args: argparse.Namespace) -> None:
    """The engine's own loop; it waits in `log`, which is called once a step."""
    base = initial(spec.model, 1).tensors()

    def log(row: dict[str, float]) -> None:
        turn(row["completion_tokens"])

    reinforce(spec, task, base, Upkeep(log=log, device=args.device))


def trainer_of(spec: TrialSpec, task: RaceTask, args: argparse.Namespace) -> tuple[Any, list[float]]:
    """TRL's trainer on the same weights and prompts, and where it notes the completion tokens of every step."""
    from datasets import Dataset
    from peft import LoraConfig
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import PreTrainedTokenizerFast
    from trl import GRPOConfig, GRPOTrainer

    words = Tokenizer(WordLevel({f"t{i}": i for i in range(VOCAB)}, unk_token="t1"))
    words.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="t0", pad_token="t1", unk_token="t1")
    rows = [" ".join(f"t{i}" for i in p) for step in range(spec.steps) for p in task.prompts(spec.seed, step, PROMPTS)]
    tokens: list[float] = []

    def reward(prompts: list[str], completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        ids_BR = np.full((len(completion_ids), RESPONSE), task.filler)
        for row, ids in zip(ids_BR, completion_ids, strict=True):
            row[: len(ids)] = ids
        tokens.append(float(sum(map(len, completion_ids))))
        ids_BP = np.array([[int(word[1:]) for word in text.split()] for text in prompts])
        return task.rewards(ids_BP, ids_BR).tolist()

    g = spec.grpo
    config = GRPOConfig(
        output_dir="/tmp/trl-race",
        per_device_train_batch_size=spec.batch,
        num_generations=GROUP,
        steps_per_generation=1,
        max_completion_length=RESPONSE,
        max_steps=spec.steps,
        learning_rate=spec.optim.lr,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        beta=g.beta,
        loss_type="grpo",
        temperature=1.0,
        use_cpu=args.device == "cpu",
        bf16=args.device != "cpu",
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        shuffle_dataset=False,
        disable_tqdm=True,
        use_vllm=False,
        dataloader_num_workers=0,
        **({"gradient_checkpointing": False} if args.trl == "tuned" else {}),
    )
    model = build(spec.model, tensors=initial(spec.model, 1).named())
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = task.eos, task.filler
    lora = LoraConfig(r=8, lora_alpha=16, target_modules=list(spec.adapter.targets), task_type="CAUSAL_LM")
    trainer = GRPOTrainer(
        model=model.train(),
        reward_funcs=reward,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": rows}),
        processing_class=tokenizer,
        peft_config=lora,
    )
    return trainer, tokens


def run_trl(spec: TrialSpec, task: RaceTask, turn: Turn, args: argparse.Namespace) -> None:
    from transformers import PrinterCallback, TrainerCallback

    trainer, tokens = trainer_of(spec, task, args)

    class Turns(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            turn(tokens[-1])

    trainer.add_callback(Turns())
    trainer.remove_callback(PrinterCallback)
    trainer.train()


def alone(side: str, args: argparse.Namespace) -> None:
    """One side: a step for every line that comes in; tokens, seconds and peak MB of it go out."""
    import peft  # noqa: F401
    from trl import GRPOTrainer  # noqa: F401  (both sides pay for the libraries of both)

    results, sys.stdout = sys.stdout, sys.stderr
    spec, task = spec_of(args.sizes[0], args.betas[0], args.steps), RaceTask(args.silent)
    before, begun = used_mb(args.device), time.perf_counter()

    def turn(tokens: float) -> None:
        nonlocal begun
        if args.device != "cpu":
            torch.cuda.synchronize()
        print(tokens, time.perf_counter() - begun, used_mb(args.device) - before, file=results, flush=True)
        sys.stdin.readline()
        begun = time.perf_counter()

    sys.stdin.readline()
    {"ours": run_ours, "trl": run_trl}[side](spec, task, turn, args)


def used_mb(device: str) -> float:
    """Peak so far."""
    if device != "cpu":
        return torch.cuda.max_memory_allocated() / 1e6
    return memory.peak() / 1e6


@dataclass
class Side:
    """A process that runs one side, and what its steps took."""

    process: subprocess.Popen[str]
    rates: list[float] = field(default_factory=list)  # tokens/s of the turns after the warm-up
    seconds: list[float] = field(default_factory=list)  # a step
    peak: float = 0.0

    @classmethod
    def start(cls, side: str, size: str, beta: float, silent: bool, args: argparse.Namespace) -> Side:
        turns, each = turns_of(size, args)
        steps = str(WARM + turns * each)
        command = [sys.executable, __file__, "--alone", side, "--sizes", size, "--betas", str(beta), "--steps", steps]
        command += ["--device", args.device, "--trl", args.trl, *(["--silent"] if silent else [])]
        pipe = subprocess.PIPE
        return cls(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True))

    def turn(self, steps: int, *, counted: bool) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        tokens = seconds = 0.0
        for _ in range(steps):
            print(file=self.process.stdin, flush=True)
            answer = self.process.stdout.readline().split()
            if not answer:
                raise SystemExit(f"a side stopped: {' '.join(map(str, self.process.args))}")
            tokens, seconds, self.peak = tokens + float(answer[0]), seconds + float(answer[1]), float(answer[2])
        if counted:
            self.rates.append(tokens / seconds)
            self.seconds.append(seconds / steps)

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()  # lets the last step return
        self.process.wait()

    def __str__(self) -> str:
        return f"{statistics.median(self.rates):8.0f} {1 / statistics.median(self.seconds):7.2f} {self.peak:6.0f}"


def race(size: str, beta: float, silent: bool, args: argparse.Namespace) -> tuple[Side, Side]:
    """Turn and turn about, the first without counting."""
    sides = Side.start("trl", size, beta, silent, args), Side.start("ours", size, beta, silent, args)
    turns, steps = turns_of(size, args)
    for turn in range(turns + 1):
        for side in sides:
            side.turn(steps if turn else WARM, counted=turn > 0)
    for side in sides:
        side.stop()
    return sides


def turns_of(size: str, args: argparse.Namespace) -> tuple[int, int]:
    """Counted turns, and steps in each."""
    turns, steps = {"20k": (6, 4), "1M": (4, 2)}.get(size, (3, 1))
    turns = args.turns or turns
    if WARM + turns * steps >= 2 * LOG_LINES:
        raise SystemExit(f"{turns} turns of {steps} steps: the engine would not log every step, give fewer turns")
    return turns, steps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["20k", "1M", "10M"], choices=list(SIZES))
    parser.add_argument("--betas", nargs="+", type=float, default=[0.0, 0.05])
    parser.add_argument("--turns", type=int, default=0, help="counted turns; 0: 6, 4, 3 by size")
    parser.add_argument("--steps", type=int, help="with --alone: steps in all")
    parser.add_argument("--trl", choices=["tuned", "installed"], default="tuned")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--alone", choices=["ours", "trl"], help="be one of the two processes")
    parser.add_argument("--silent", action="store_true", help="with --alone: half of the groups have no signal")
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.alone:
        alone(args.alone, args)
        return
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    os.environ["OMP_NUM_THREADS"] = "1"
    print(f"torch {torch.__version__}, {args.device}, one thread, TRL {args.trl}")
    print(f"{'':32}|  TRL tokens/s steps/s     MB | ours tokens/s steps/s     MB | ratio")
    for size in args.sizes:
        for beta in args.betas:
            for silent in (False, True):
                theirs, ours = race(size, beta, silent, args)
                ratio = statistics.median(a / b for a, b in zip(ours.rates, theirs.rates, strict=True))
                groups = "half silent" if silent else "all groups"
                print(
                    f"{size:>5}  beta {beta:<5g} {groups:<12} |      {theirs} |      {ours} |  {ratio:.2f}", flush=True
                )


if __name__ == "__main__":
    main()
