"""A compiled denoiser with the weights of a live base: the same noise as `cns.kv.predict`, but for rounding."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch._inductor import aoti_load_package

from cns.base_model import BaseModel
from cns.compiling import FEWEST_ROWS, MOST_ROWS, PREFIX, CannotCompile, Form
from cns.kv import LayerKV


class CompiledDenoiser:
    """The program in `path`, which `cns.compiling.compile_denoiser` wrote for the form and the device of `base`.

    It computes with the base's own weights, where they lie: nothing is copied, and nothing of the base is changed. No
    Python runs inside, so no call can compile anything. For one thread at a time, and on a CPU it lets no other thread
    of Python in meanwhile. The file is not needed afterwards. Raises CannotCompile for a program that is not this
    base's.
    """

    def __init__(self, base: BaseModel, form: Form, path: Path):
        self.form = form
        own = {PREFIX + name: weight for name, weight in base.unet.state_dict(keep_vars=True).items()}
        try:
            # With a single runner there is nothing to lock, as the engine's thread alone calls it.
            index = -1 if base.device.index is None else base.device.index
            self._program = aoti_load_package(str(path), run_single_threaded=True, device_index=index)
            names = set(self._program.get_constant_fqns())
            unread = {f"{PREFIX}{layer}.weight" for layer in base.kv_weights}  # K and V of text are handed in
            if wrong := sorted(names ^ (set(own) - unread)):
                raise CannotCompile(f"The compiled step and the base have not the same weights: {wrong[0]}.")
            self._weights = {name: own[name].detach() for name in names}  # for as long as the program reads them
            self._program.load_constants(self._weights, check_full_update=True, user_managed=True)
        except RuntimeError as error:
            raise CannotCompile(f"The compiled step cannot be loaded: {str(error).splitlines()[0]}") from error

    @staticmethod
    def takes(rows: int) -> bool:
        """Whether a program may be called with so many rows: outside these bounds its answer would mean nothing."""
        return FEWEST_ROWS <= rows <= MOST_ROWS

    @torch.no_grad()
    def __call__(
        self, latents: Tensor, timesteps: Tensor, kv: LayerKV, added: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """As `cns.kv.predict` without regions; the inputs have to be of the program's form, which is not checked again.

        latents (rows, channels, height, width), timesteps (rows,), K and V (rows, tokens, out)
        returns (rows, channels, height, width)
        """
        # The program reads memory in the order that it was made for and does not ask how its inputs lie there.
        pairs = {layer: (key.contiguous(), value.contiguous()) for layer, (key, value) in kv.items()}
        conditions = {name: condition.contiguous() for name, condition in added.items()} if added else None
        made: Tensor = self._program(latents.contiguous(), timesteps.float().contiguous(), pairs, conditions)
        return made
