"""When the device fails: too little memory, or broken for good."""

import torch

from cns.errors import CnsError

CPU_ALLOCATOR = "DefaultCPUAllocator"  # torch has a class of error for GPUs alone


class DeviceLost(BaseException):
    """The device is broken for this process. No job's fault that could be told, so nobody is to catch it."""


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


def check_device(device: torch.device) -> None:
    """After an error: one on a GPU may have broken it for the whole process, and every later job would fail."""
    if device.type == "cuda":
        try:
            torch.cuda.synchronize(device)
        except torch.OutOfMemoryError:
            return
        except RuntimeError as error:
            raise DeviceLost("The device cannot be used any more.") from error
