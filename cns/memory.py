"""Telling that memory ran out: torch has an error of its own for some of the places where it does, not for all."""

import torch

# A CPU's allocator raises a plain RuntimeError; so do the GPU's libraries for what they take past torch's allocator.
SAID_OF_IT = (
    "DefaultCPUAllocator",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory did not suffice, of the machine or of a GPU: whoever asks for less may succeed."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in SAID_OF_IT)
