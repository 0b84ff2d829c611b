"""Pre-training: what share of this machine's own matrix-product rate a training step reaches, and what holds it back.

    python benchmarks/pretraining.py                 # widths 16 .. 256 of the ladder's model, one thread, float32
    python benchmarks/pretraining.py --widths 64 128 --batch 256

In every round, side by side: one step of the engine (fold, forward, backward, Adam), its matrix products alone (the
same shapes, nothing between them), and a large square product, whose best rate is the peak.

    peak        GFLOP/s of a 1,024 x 1,024 x 1,024 product, the best of the run
    step        executed FLOPs of a step over its time
    products    the same FLOPs over the time of the bare products
    of peak     step over peak; `products` over peak is what is left if everything else were free
    limiter     the part of a step's time that is not matrix products
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from scaling.cli import table
from scaling.trials import ModelSpec, OptimSpec
from sweeps import executed
from sweeps.batches import corpus
from sweeps.gradients import Weights
from sweeps.ladder import opchain
from sweeps.models import Parameters, initial
from sweeps.network import backward, fold, forward
from sweeps.optim import Adam
from sweeps.tasks import task_of
from sweeps.train import cross_entropy


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def products_of(model: ModelSpec, queries: int, distinct: int) -> Callable[[], None]:
    """The matrix products of one layer's step: forward, and twice backward, on tensors of the same shapes."""
    sizes = {"q_proj": distinct, "k_proj": distinct, "v_proj": distinct}
    shapes = [(*model.matrices[name], sizes.get(name, queries)) for name in model.matrices]
    shapes.append((model.outputs, model.width, queries))
    held = [(torch.randn(o, i), torch.randn(i, n), torch.randn(o, n)) for o, i, n in shapes]

    def work() -> None:
        for w, x, g in held:
            w @ x, w.t() @ g, g @ x.t()

    return work


def measure(width: int, head_dim: int, batch: int, rounds: int) -> tuple[float, float, float]:
    """GFLOP/s of the peak, of a step, and of its bare products."""
    task = task_of(opchain(1))
    model = ModelSpec(1, width, width // head_dim, 4 * width, task.vocab, task.outputs)
    weights, gradient = initial(model, 0), Parameters(model)
    sink, adam = Weights(weights, gradient), Adam(weights.flat, OptimSpec(1e-4, (0.9, 0.98), "constant"))
    one = corpus(task, 0, 0, batch)[0]
    distinct = len(one.tokens.distinct_U)

    def step() -> None:
        net = fold(weights)
        done = forward(net, one.tokens, one.plan)
        _, dlogits_VQ = cross_entropy(done.logits_VQ, one.targets_Q)
        sink.finish(*backward(net, done, dlogits_VQ, sink), one.tokens)
        adam.step(gradient.flat, 1e-4)

    bare = products_of(model, one.plan.queries, distinct)
    square = torch.randn(1024, 1024)
    flop = 3 * executed.forward_flop(model, one.plan, distinct)
    times = [(seconds(step), seconds(bare), seconds(lambda: square @ square)) for _ in range(rounds + 3)][3:]
    own, alone, peak = (list(column) for column in zip(*times, strict=True))
    return 2 * 1024**3 / min(peak) / 1e9, flop / statistics.median(own) / 1e9, flop / statistics.median(alone) / 1e9


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--widths", nargs="+", type=int, default=[16, 32, 64, 96, 128, 256])
    parser.add_argument("--head", type=int, default=4, help="head size (the ladder's: 4 up to width 128, then 32)")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    rows = []
    for width in args.widths:
        head = args.head if width <= 128 else 32
        peak, step, bare = measure(width, head, args.batch, args.rounds)
        share = f"{1 - step / bare:.0%} of the time outside matrix products"
        rows.append(
            (
                width,
                head,
                f"{peak:.0f}",
                f"{step:.1f}",
                f"{bare:.1f}",
                f"{step / peak:.0%}",
                f"{bare / peak:.0%}",
                share,
            )
        )
    print(f"torch {torch.__version__}, one thread, float32, batch {args.batch}")
    print(table(("width", "head", "peak", "step", "products", "of peak", "products of peak", "limiter"), rows))


if __name__ == "__main__":
    main()
