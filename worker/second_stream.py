"""Work beside the denoising steps: on a GPU in a stream of its own, on a CPU at once.

On a CPU a second thread of torch's would take from the step what it needs (docs/decisions/0015).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Begun:
    """What was asked of the device. The tensor lies on the CPU, and holds the answer once `done` has come to pass."""

    made: Tensor
    done: torch.cuda.Event | None = None

    @property
    def ready(self) -> bool:
        """Whether `take` would not wait. What went wrong on the device is raised here or there, as a RuntimeError."""
        return self.done is None or self.done.query()

    def take(self) -> Tensor:
        """The answer; waits for it."""
        if self.done is not None:
            self.done.synchronize()
        return self.made


class SecondStream:
    """Of `device`. Not run on a GPU yet: tested are the CPU's way, and that no step waits for an answer."""

    def __init__(self, device: torch.device):
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def begin(self, work: Callable[[], Tensor], reads: Sequence[Tensor]) -> Begun:
        """Ask for `work` and for a copy of its answer on the CPU, after all that was asked in the caller's stream.

        reads: what it reads of what the caller's stream made and may drop meanwhile.
        """
        if self._stream is None:
            return Begun(work().cpu())
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            made = work()
            for tensor in reads:
                tensor.record_stream(self._stream)  # else its memory could be given away while it is still read
            # Only into memory that the system does not move can a GPU copy while Python goes on.
            copy = torch.empty(made.shape, dtype=made.dtype, pin_memory=True)
            copy.copy_(made, non_blocking=True)
            done = torch.cuda.Event()
            done.record(self._stream)
        return Begun(copy, done)
