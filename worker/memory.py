"""Too little memory: how to recognise it, and what to say of it."""

import torch

from cns.errors import CnsError

CPU_ALLOCATOR = "DefaultCPUAllocator"  # torch has a class of error for GPUs alone


class PictureTooLarge(CnsError):
    """A picture that does not fit the device's memory even by itself."""

    def __init__(self) -> None:
        super().__init__("The device's memory does not suffice for this picture: make it smaller.")


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and CPU_ALLOCATOR in str(error)


def give_memory_back(device: torch.device) -> None:
    """What torch keeps for later goes back to the device, so that pieces of another size find room."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
