"""What a measurement was made on, and how much memory a piece of it took."""

import ctypes
import gc
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

LIBRARIES = ("torch", "diffusers", "transformers", "numpy", "pillow")
PROCESSORS = Path("/proc/cpuinfo")
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
FORGET_PEAK = "5"  # what Linux wants to be told so that VmHWM starts again from what is held now (proc(5))


def describe_machine(device: torch.device) -> dict[str, str | int]:
    """Processor, cores, threads of torch, and the GPU where one is used. No name of the machine, no user."""
    facts: dict[str, str | int] = {
        "system": platform.system(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "device": device.type,
        "python": platform.python_version(),
    }
    if device.type == "cuda":
        facts["gpu"] = torch.cuda.get_device_name(device)
    return facts


def _processor() -> str:
    """The processor's model, as far as the system tells."""
    lines = PROCESSORS.read_text(encoding="utf-8").splitlines() if PROCESSORS.is_file() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or "unknown"


def library_versions() -> dict[str, str]:
    """The releases that decide the figures."""
    return {name: version(name) for name in LIBRARIES}


@dataclass
class Peak:
    """extra_bytes: the most that was held during the block beyond what was held before; None where nobody can say."""

    extra_bytes: int | None = None


def held_bytes(device: torch.device) -> int:
    """What is held now: on a GPU by tensors, else by this process, 0 where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _read_status("VmRSS") or 0


@contextmanager
def peak_memory(device: torch.device) -> Iterator[Peak]:
    """Watch a block: the GPU's memory on a GPU, else this process's on Linux."""
    peak = Peak()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield peak
        peak.extra_bytes = torch.cuda.max_memory_allocated(device) - before
        return
    held = _forget_peak()
    yield peak
    most = _read_status("VmHWM")
    peak.extra_bytes = None if held is None or most is None else max(0, most - held)


@contextmanager
def peak_of_tensors(device: torch.device) -> Iterator[Peak]:
    """Watch a block: what tensors held at most beyond what they held before, to the byte.

    On a CPU from the profiler's record of what was taken and freed, which slows the block down, so that it is not to be
    timed as well. A peak of the whole process would count what an allocator keeps of what was freed, and depend on who
    was measured before.
    """
    peak = Peak()
    if device.type == "cuda":
        with peak_memory(device) as peak_of_gpu:
            yield peak
        peak.extra_bytes = peak_of_gpu.extra_bytes
        return
    gc.collect()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=False) as watched:
        yield peak
    record: Any = watched.profiler
    taken = [event for event in record.kineto_results.events() if event.name() == "[memory]"]
    taken.sort(key=lambda event: event.start_ns())
    peak.extra_bytes = max(accumulate((event.nbytes() for event in taken), initial=0))


def _forget_peak() -> int | None:
    """Bytes held now, after which the kernel's peak counts from here; None where it cannot be told to.

    What earlier work has freed goes back to the system first: used again, it would not count as held in addition, and
    whoever is measured second would seem to need less.
    """
    if not STATUS.is_file():
        return None
    gc.collect()
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc
    if give_back is not None:
        give_back(0)
    try:
        CLEAR.write_text(FORGET_PEAK)
    except OSError:  # a sandbox forbids it: memory is then not reported
        return None
    return _read_status("VmRSS")


def _read_status(name: str) -> int | None:
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")]
    return found[0] if found else None
