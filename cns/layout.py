"""How a model's weights lie in memory."""

import torch
from torch import nn


def lay_out(module: nn.Module, device: torch.device) -> None:
    """Put the weights of convolutions in the order that `device` computes with; no value changes, nor a checksum.

    A GPU's matrix units read channels last, and turn around whatever lies otherwise at every call. A CPU's library
    packs weights by itself: on the storybook's UNet the order made no difference there, forwards and backwards.
    """
    if device.type == "cuda":
        nn.Module.to(module, memory_format=torch.channels_last)  # type: ignore[call-overload] # torch's own types lack it
