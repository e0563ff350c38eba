"""What a step takes of the device, and when it fails: too little memory, or broken for good."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from cns.errors import CnsError


class DeviceLost(BaseException):
    """The device is broken for this process. No job's fault that could be told, so nobody is to catch it."""


class PictureTooLarge(CnsError):
    """A picture that does not fit the device's memory even by itself."""

    def __init__(self) -> None:
        super().__init__("The device's memory does not suffice for this picture: make it smaller.")


@dataclass
class Taken:
    """seconds: that the device was used. peak_bytes: of its memory beyond what was taken before; None on a CPU.

    On a CPU nothing says what one step took: the process' memory is shared by everything that goes on in it.
    """

    seconds: float = 0.0
    peak_bytes: int | None = None


def use_device(device: torch.device) -> None:
    """On the thread that calls: every thread begins on the first GPU, and a compiled step asks for the thread's own."""
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)


@contextmanager
def measured(device: torch.device) -> Iterator[Taken]:
    """What the block takes of the device, to be read after it. Waits once, for what it asked of the current stream."""
    taken, begun = Taken(), time.monotonic()
    cuda = device.type == "cuda"
    before = torch.cuda.memory_allocated(device) if cuda else 0
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    yield taken
    if cuda:
        # Else the time would be booked on whoever comes next; what goes on in another stream is not waited for.
        torch.cuda.current_stream(device).synchronize()
        taken.peak_bytes = torch.cuda.max_memory_allocated(device) - before
    taken.seconds = time.monotonic() - begun


def free_bytes(device: torch.device) -> int | None:
    """Memory that could be had now, what torch keeps for later included; None on a CPU, where it is not counted."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return int(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device))


def give_memory_back(device: torch.device) -> None:
    """What torch keeps for later goes back to the device, so that pieces of another size find room."""
    if device.type == "cuda":
        torch.cuda.empty_cache()


def check_device(device: torch.device) -> None:
    """After an error: one on a GPU may have broken it for the whole process, and every later job would fail."""
    if device.type == "cuda":
        try:
            torch.cuda.synchronize(device)
        except torch.OutOfMemoryError:
            return
        except RuntimeError as error:
            raise DeviceLost("The device cannot be used any more.") from error
