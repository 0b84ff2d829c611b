"""Memory: what a trial needs, and what this machine has left.

`trial_bytes` is an upper guess from the specification alone, so that a trial which cannot fit is known before it
starts. The machine's figures come from the kernel: /proc/meminfo, the limit of the control group where that is lower
(version 2 or 1), else the number of physical pages; where nobody says, there is no guard.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
from pathlib import Path

from scaling.trials import ModelSpec, TrialSpec

PROCESS_BYTES = 320 * 2**20  # a worker with torch and its first kernels loaded: 220 to 300 MiB measured
EVALUATED_AT_ONCE = 512  # sequences of one evaluation pass: activations stay in the cache
DRAWN_AT_ONCE = 4096  # sequences of the corpus drawn at once, at least a batch
FLOAT, ID = 4, 8


def trial_bytes(spec: TrialSpec) -> int:
    """Peak bytes of the process that runs a trial, about:

        process base
        + 4 W: frozen weights, folded weights, their gradients and one copy      W = all weights, 4 bytes each
        + 9 T: trained weights, gradient, two moments, and what a checkpoint     T = W, or the adapters of an RL trial
               holds twice while it is written (3 T as tensors, 3 T as bytes)
        + activations: of a training step, forward and backward, or of an evaluation pass, whichever is larger
        + ids: the corpus drawn ahead, held-out sequences and problems, in 8-byte tokens, four copies while sorted

    Tests hold it against measured peaks within a factor of two.
    """
    model, tokens = spec.model, spec.task.sequence_tokens
    weights = FLOAT * (model.vocab * model.width + model.body_parameters + (2 * model.layers + 1) * model.width)
    trained = FLOAT * spec.adapter.parameters(model) if spec.adapter else weights
    evaluated = min(EVALUATED_AT_ONCE, max(spec.evaluation.problems, spec.evaluation.sequences))
    shared = spec.task.prompt_tokens * (1 - 1 / spec.grpo.group) if spec.grpo else 0.0  # a prompt once a group
    at_once = max(2 * spec.batch * (1 - shared / tokens), evaluated)
    drawn = max(DRAWN_AT_ONCE, spec.batch) if spec.stage == "pretrain" else spec.batch
    ids = ID * tokens * 4 * (drawn + spec.evaluation.problems + spec.evaluation.sequences)
    return PROCESS_BYTES + 4 * weights + 9 * trained + int(at_once * activation_bytes(model, tokens)) + ids


def activation_bytes(model: ModelSpec, tokens: int) -> int:
    """Saved by a forward pass for one sequence: per position and layer 10 widths and 4 feed-forward widths (inputs,
    norms, q, k, v, mixed; gate, up, gated, active), attention weights of every head over half the square of the
    positions, and the logits twice. A backward pass holds about as much again: a batch counts twice."""
    per_layer = tokens * (10 * model.width + 4 * model.ffn) + model.heads * tokens * (tokens + 1) // 2
    return FLOAT * (model.layers * per_layer + 2 * tokens * model.outputs)


def available(root: Path = Path("/")) -> int | None:
    """Bytes that new processes may take now without anything being pushed out; None where nobody says."""
    known = [_kilobytes(root / "proc/meminfo", "MemAvailable"), *(limit - used for limit, used in _limits(root))]
    found = [number for number in known if number is not None]
    return max(0, min(found)) if found else None


def total(root: Path = Path("/")) -> int | None:
    """Bytes of the machine, or of its control group where that has fewer; None where nobody says."""
    known = [_kilobytes(root / "proc/meminfo", "MemTotal"), *(limit for limit, _ in _limits(root))]
    found = [number for number in known if number is not None]
    return min(found) if found else _pages()


def resident(pid: int) -> int:
    """Bytes that a process holds in memory; 0 where nobody says."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def peak() -> int:
    """The most bytes that this process has held since `forget_peak`, else since its start. Not the kernel's ru_maxrss
    where there is better: that one begins with what the parent held."""
    found = _kilobytes(Path("/proc/self/status"), "VmHWM")
    if found is not None:
        return found
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def forget_peak() -> None:
    """Count the peak from now on, where the kernel lets one: a worker runs many trials."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def size(number: float) -> str:
    """'31 GiB', '650 MiB'."""
    return f"{number / 2**30:.3g} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"


def _kilobytes(path: Path, name: str) -> int | None:
    """The bytes behind 'name:  123 kB' of a file of the kernel's."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in path.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
    return None


def _limits(root: Path) -> list[tuple[int, int]]:
    """(limit, used) of the control groups that hold this process, their parents included. Inactive file pages are
    given back on demand and do not count as used."""
    found = []
    for folder, limit, used in _groups(root):
        with contextlib.suppress(OSError, ValueError):  # "max": no limit
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            idle = int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))
            found.append((int((folder / limit).read_text()), int((folder / used).read_text()) - idle))
    return found


def _groups(root: Path) -> list[tuple[Path, str, str]]:
    names = ("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")
    groups = []
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            number, controllers, place = line.split(":", 2)
            if number == "0" or "memory" in controllers.split(","):
                top = root / "sys/fs/cgroup" / ("" if number == "0" else "memory")
                inside = top / place.lstrip("/")
                # inside a container the path may be the host's: then the top is the container's own group
                folders = [inside, *inside.parents] if inside.is_dir() else [top]
                groups += [(f, *names[number != "0"]) for f in folders if f.is_relative_to(top)]
    return groups


def _pages() -> int | None:
    with contextlib.suppress(OSError, ValueError, AttributeError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None
