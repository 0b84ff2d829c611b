"""What the runner costs: many trivial trials on a few slots, and the share of the slots' time that is no trial's.

    python benchmarks/runner_overhead.py [--trials 500] [--slots 2] [--folder DIR] [--profile]

Each trial is the smallest of the recipe `smoke` (width 8, 512 problems) under a seed of its own: about a tenth of a
second. After the workers are warm (one trial each),

    loss = 1 - sum of the trials' own total_s / (slots x wall)

where a trial's total_s runs from its claim to its result: resume, training, evaluation, checkpoint. Processor seconds
stand beside the wall, since other work on the machine lengthens the wall alone. `--profile` instead runs the trials of
one slot inside this process and says where the seconds of a trial go, by part.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import sys
import tempfile
import time
from pathlib import Path

from scaling.trials import EvaluationSpec, TrialSpec
from sweeps.executors.local import Local
from sweeps.ladder import base_trial, opchain
from sweeps.sweep import made_with, run

PARTS = {
    "claim: folder, lease, state": ("store.py:start", "lease.py:__enter__", "lease.py:lease", "store.py:trial"),
    "attempt noted": ("store.py:note_attempt",),
    "training": ("train.py:train",),
    "checkpoint": ("checkpoints.py:save",),
    "evaluation": ("evaluate.py:evaluate",),
    "observations made": ("measured.py:observations_of",),
    "result written": ("store.py:finish",),
    "all fsync": ("~:<built-in method posix.fsync>",),
}


def trials(count: int) -> list[TrialSpec]:
    """The smallest trial of `smoke`, `count` seeds."""
    shape = base_trial(2e8, opchain(1, operations=64), evaluation=EvaluationSpec(problems=512, sequences=512))
    return [shape.with_seed(seed) for seed in range(1, count + 1)]


def measure(folder: Path, count: int, slots: int) -> None:
    specs, place = trials(count + slots), Local(folder, slots=slots, record=made_with(folder, slots=slots))
    for spec in specs[:slots]:
        place.submit(spec)
    ended = 0
    while ended < slots:
        ended += sum(event.kind == "ended" for event in place.poll(1.0))
    workers = [worker.process.pid for worker in place.workers]
    begun, own = time.monotonic(), time.process_time()
    before = sum(map(processor_s, workers))
    stops: list[tuple[float, float]] = []
    close = place.close

    def at_end(grace_s: float = 5.0) -> None:
        stops.append((time.monotonic(), sum(map(processor_s, workers))))
        close(grace_s)

    place.close = at_end  # type: ignore[method-assign]
    done = run(specs[slots:], folder, slots=slots, executor=place, progress=False)
    (end, after), runner_s = stops[0], time.process_time() - own
    wall, inside = end - begun, sum(trial.result["total_s"] for trial in done)
    print(f"{count} trials on {slots} slots, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"wall {wall:.2f} s, trials' own {inside:.2f} s, loss {1 - inside / (slots * wall):.1%}")
    print(f"outside a trial {1e3 * (slots * wall - inside) / count:.2f} ms each")
    print(
        f"processor: workers {after - before:.2f} s, runner {runner_s:.2f} s ({1e3 * runner_s / count:.2f} ms a trial)"
    )


def processor_s(pid: int) -> float:
    """User and system seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def profile(folder: Path, count: int) -> None:
    from sweeps.attempts import Attempt
    from sweeps.store import Store

    specs, store = trials(count + 1), Store(folder)
    import torch

    torch.set_num_threads(1)
    Attempt(specs[0], store).run()  # imports and tables are paid for here
    begun, own = time.monotonic(), time.process_time()
    with cProfile.Profile() as watched:
        done = [Attempt(spec, store).run() for spec in specs[1:]]
    wall, busy = time.monotonic() - begun, time.process_time() - own
    inside = sum(trial.result["total_s"] for trial in done)
    print(f"{count} trials, one after another: {1e3 * wall / count:.2f} ms each (processor {1e3 * busy / count:.2f}),")
    print(f"of which inside total_s {1e3 * inside / count:.2f} ms. By part, ms a trial, parts may hold each other:")
    found = {f"{Path(f).name}:{name}": row for (f, _, name), row in pstats.Stats(watched).stats.items()}  # type: ignore[attr-defined]
    for part, names in PARTS.items():
        rows = [found[name] for name in names if name in found]
        calls = sum(row[1] for row in rows) / count
        print(f"  {part:<28} {1e3 * sum(row[3] for row in rows) / count:7.2f}   {calls:.0f} calls")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--trials", type=int, default=500)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--profile", action="store_true")
    a = parser.parse_args()
    folder = a.folder or Path(tempfile.mkdtemp(prefix="runner-overhead-"))
    profile(folder, a.trials) if a.profile else measure(folder, a.trials, a.slots)
    return 0


if __name__ == "__main__":
    sys.exit(main())
