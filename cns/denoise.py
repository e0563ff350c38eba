"""Making pictures: one run per request, and one batched UNet call that moves many runs on by a step each.

A run brings its own K and V, its own scheduler, its own time step and its own noise, so runs of different prompts,
versions, samplers, step counts and seeds share a call; each gives the picture it would give alone.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cns.base_model import BaseModel
from cns.binding import join_bindings
from cns.compose import Version
from cns.errors import CnsError
from cns.kv import Predict, handed_attention, join_rows, predict
from cns.prompts import Encode, EncodedPrompt, encode_prompt, encode_unwanted
from cns.regions import Region, RegionalKV, check_regions
from cns.samplers import MOST_STEPS, SAMPLERS, build_sampler, check_sampler, set_steps
from cns.text import is_text

__all__ = [
    "SAMPLERS",
    "GenerationRequest",
    "GenerationRun",
    "NoPicture",
    "RequestRefused",
    "check_picture",
    "check_request",
    "decoded_at_once",
    "denoise_step",
    "generate",
    "to_pictures",
]

DECODED_AT_ONCE_PX = 2**20
"""Pixels that the autoencoder decodes in one call: one picture of 1024 x 1024, four of 512 x 512. In float32 that takes
about 4 GB on a base of Stable Diffusion's size. More pictures than that are decoded in parts, which moves their last
bits, as a batch of another size does; pictures of the shipped base go through all at once, up to 256 of its own size.
"""


class RequestRefused(CnsError):
    """A picture was asked for with settings that cannot be used."""


class NoPicture(CnsError):
    """What came out holds values that are no numbers: something overflowed, in half precision most of all."""

    def __init__(self, request: str = "this") -> None:
        super().__init__(
            f"No picture came of {request}: its values overflowed. Ask with less guidance, or for another size or "
            "sampler."
        )


@dataclass(frozen=True)
class GenerationRequest:
    """What a picture is made from. The same request on the same version gives the same picture.

    seed: 0 to 2**64 - 1. guidance: scale of classifier-free guidance; 1 or less uses none and costs half. steps: 1 to
    500.
    width_px, height_px: None for the size the base was trained on. regions: boxes with prompts of their own, in the
    place of `prompt` there; what shall not be in the picture is the same everywhere. apart: of several concepts in
    `prompt` whose values apply at their tokens, each place of the picture reads one (`cns.binding`).
    """

    prompt: str
    negative_prompt: str = ""
    seed: int = 0
    steps: int = 25
    guidance: float = 5.0
    sampler: str = "ddim"
    width_px: int | None = None
    height_px: int | None = None
    regions: tuple[Region, ...] = ()
    apart: bool = True


class GenerationRun:
    """One request on its way from noise to latents. Advanced from outside by `denoise_step`.

    encode: how it comes by K and V of its prompts; None to compute them. It gives the same ones, so the same picture.
    guided_from: the lowest noise level, as a time step, that is guided; None where none is. 0 but for concepts of the
    whole picture (`cns.pull`), in the prompt or a region's, of which the steps below it ask for the prompts alone.
    binding: which concepts of the prompt keep out of each other's places, None where none do.
    latents: (1, channels, height, width) float32. clean: what the sampler took the finished latents to be at its last
    step, of the same shape; None before the first one. steps_done: how many steps were taken. done: whether all were.
    regional: K and V of its regions' prompts, None where it has no regions. (SDXL's pooled text is the whole prompt's.)
    """

    def __init__(self, base: BaseModel, version: Version, request: GenerationRequest, encode: Encode | None = None):
        encode = encode or partial(encode_prompt, base)
        height, width = _size_px(base, request)
        _check(request)
        self.request = request
        self.scheduler = build_sampler(request.sampler, base.scheduler_config)
        guided = request.guidance > 1
        unwanted = [encode_unwanted(base, version, request.negative_prompt, encode)] if guided else []
        prompt = encode(version, request.prompt)
        self._prompts = (*unwanted, prompt)
        self.binding = prompt.binding if request.apart else None
        self._added = base.added_conditions(_pooled(self._prompts), height, width)
        parts = [encode(version, region.prompt) for region in request.regions]
        levels: int = self.scheduler.config.num_train_timesteps
        least = min(part.guided for part in (prompt, *parts))
        self.guided_from = levels * (1 - least) if guided else None
        set_steps(self.scheduler, request.steps)
        shape = (1, base.unet.config.in_channels, height // base.vae_scale, width // base.vae_scale)
        self.regional: RegionalKV | None = None
        if parts:
            self.regional = RegionalKV(request.regions, join_rows([part.kv for part in parts]), *shape[2:])
        # Drawn on the CPU, so that a seed means the same picture whatever the device.
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(request.seed))
        self.latents: Tensor = noise.to(base.device) * self.scheduler.init_noise_sigma
        self.clean: Tensor | None = None
        self.steps_done = 0

    @property
    def rows(self) -> int:
        """Rows of the UNet's batch that its next step takes: 2 with guidance, else 1."""
        at = self.steps_done  # read once: others ask while a step ends
        if self.guided_from is None or at >= len(self.scheduler.timesteps):
            return 1
        return 2 if self.scheduler.timesteps[at] >= self.guided_from else 1

    @property
    def prompts(self) -> tuple[EncodedPrompt, ...]:
        """What each row reads of the text: with guidance first what shall not be there, then the prompt."""
        return self._prompts[-self.rows :]

    @property
    def added(self) -> Mapping[str, Tensor] | None:
        """SDXL's conditions of its rows, see `BaseModel.added_conditions`."""
        return None if self._added is None else {name: part[-self.rows :] for name, part in self._added.items()}

    @property
    def done(self) -> bool:
        return self.steps_done >= len(self.scheduler.timesteps)

    @property
    def timestep(self) -> Tensor:
        """The step it stands at, a scalar of the scheduler's."""
        step: Tensor = self.scheduler.timesteps[self.steps_done]
        return step

    def inputs(self) -> Tensor:
        """What the UNet is to see: (rows, channels, height, width)."""
        scaled: Tensor = self.scheduler.scale_model_input(self.latents, self.timestep)
        return scaled.expand(self.rows, -1, -1, -1)

    def advance(self, made: Tensor) -> None:
        """Take one step with the UNet's answer (rows, channels, height, width)."""
        if self.rows == 2:
            without, with_prompt = made.float().chunk(2)
            made = without + self.request.guidance * (with_prompt - without)
        stepped = self.scheduler.step(made.float(), self.timestep, self.latents, return_dict=False)
        self.latents = stepped[0]
        # Samplers of one step say it; those of several keep it for their next ones.
        self.clean = stepped[1] if len(stepped) > 1 else self.scheduler.model_outputs[-1]
        self.steps_done += 1


def _check(request: GenerationRequest) -> None:
    """Raise RequestRefused, RegionRefused or UnknownSampler for what no picture can be made with."""
    prompts = (request.prompt, request.negative_prompt, *(region.prompt for region in request.regions))
    if not all(is_text(prompt) for prompt in prompts):
        raise RequestRefused("A prompt holds half a character, which nobody can read; write it anew.")
    check_sampler(request.sampler)
    if not 1 <= request.steps <= MOST_STEPS:
        raise RequestRefused(f"A picture takes 1 to {MOST_STEPS} steps, not {request.steps}.")
    if not 0 <= request.seed < 2**64:
        raise RequestRefused(f"The seed of a picture is a number from 0 to 2^64 - 1, not {request.seed}.")
    if not isfinite(request.guidance):
        raise RequestRefused(f"Guidance is a number such as {GenerationRequest.guidance:g}, not {request.guidance}.")
    check_regions(request.regions)


def check_request(base: BaseModel, version: Version, request: GenerationRequest) -> None:
    """Raise what making the picture would raise for its settings, its size, or a <token> that nobody knows.

    That is RequestRefused, RegionRefused, UnknownSampler or UnknownToken.
    """
    _size_px(base, request)
    _check(request)
    # Without guidance nobody reads what shall not be in the picture.
    unwanted = (request.negative_prompt,) if request.guidance > 1 else ()
    read = (request.prompt, *unwanted, *(region.prompt for region in request.regions))
    base.check_tokens(read, version.tokens)


def _pooled(prompts: Sequence[EncodedPrompt]) -> Tensor | None:
    """(rows, width) of SDXL's pooled text, None for bases without."""
    pooled = [prompt.pooled for prompt in prompts if prompt.pooled is not None]
    return torch.cat(pooled) if pooled else None


def _size_px(base: BaseModel, request: GenerationRequest) -> tuple[int, int]:
    height, width = request.height_px or base.native_px, request.width_px or base.native_px
    step = base.vae_scale * 2 ** (len(base.unet.config.block_out_channels) - 1)
    if height < step or width < step or height % step or width % step:
        raise RequestRefused(f"Width and height must be multiples of {step} px, not {width} x {height}.")
    return height, width


@torch.no_grad()
def denoise_step(base: BaseModel, runs: Sequence[GenerationRun], call: Predict = predict) -> None:
    """Move every run on by one step of its own sampler, in one UNet call.

    All runs need latents of one shape, and none may be done. call: how the UNet is asked.
    Call it inside `handed_attention(base.unet)`.
    """
    shapes = {run.latents.shape for run in runs}
    if len(shapes) > 1:
        raise RequestRefused("Pictures of different sizes cannot share one step.")
    inputs = torch.cat([run.inputs() for run in runs]).to(base.dtype)
    times = torch.cat([run.timestep.reshape(1).expand(run.rows) for run in runs]).to(base.device)
    added = None
    if runs[0].added is not None:
        conditions = [run.added for run in runs if run.added is not None]
        added = {name: torch.cat([condition[name] for condition in conditions]) for name in conditions[0]}
    regions, bindings, row = {}, {}, 0
    for run in runs:
        row += run.rows
        if run.regional is not None:
            regions[row - 1] = run.regional  # the row with the prompt is the run's last; the one without has no regions
        if run.binding is not None:
            bindings[row - 1] = run.binding
    kv, bound = join_rows([prompt.kv for run in runs for prompt in run.prompts]), join_bindings(bindings, inputs)
    made = call(base, inputs, times, kv, added, regions, bound)
    for run, answer in zip(runs, made.split([run.rows for run in runs]), strict=True):
        run.advance(answer)


def generate(
    base: BaseModel,
    version: Version,
    requests: Sequence[GenerationRequest],
    *,
    batch: int = 16,
    on_step: Callable[[int, int], None] | None = None,
) -> list[Tensor]:
    """Make the pictures of `requests` under one version, at most `batch` at a time.

    on_step(done, total) is called after each shared step, counted over all pictures' steps. Raises before the first
    step what `check_request` raises for any of them.
    returns  one picture (3, height, width) float32 in 0..1 on the CPU per request, in their order
    """
    for request in requests:
        check_request(base, version, request)
    pictures: list[Tensor | None] = [None] * len(requests)
    total, done = sum(request.steps for request in requests), 0
    with handed_attention(base.unet):
        for places in _batches(base, requests, batch):
            encode = _encode_once(base)  # for this batch alone, as K and V of many prompts are large
            runs = [GenerationRun(base, version, requests[place], encode) for place in places]
            while waiting := [run for run in runs if not run.done]:
                denoise_step(base, waiting)
                done += len(waiting)
                if on_step is not None:
                    on_step(min(done, total), total)
            for place, picture in zip(places, _decode(base, [run.latents for run in runs]), strict=True):
                pictures[place] = picture
    return [picture for picture in pictures if picture is not None]


def _decode(base: BaseModel, latents: Sequence[Tensor]) -> Iterator[Tensor]:
    """Pictures (3, height, width) of latents (1, channels, height, width) of one size, a few at a time."""
    height, width = (side * base.vae_scale for side in latents[0].shape[-2:])
    for part in torch.cat(list(latents)).split(decoded_at_once(height, width)):
        yield from base.decode_latents(part).cpu()


def decoded_at_once(height_px: int, width_px: int) -> int:
    """How many pictures of that size the autoencoder decodes in one call, at most; at least one."""
    return max(1, DECODED_AT_ONCE_PX // (height_px * width_px))


def check_picture(pixels: Tensor) -> None:
    """Raises NoPicture where a picture (3, height, width) holds what is no number, and would be shown black."""
    if not bool(torch.isfinite(pixels).all()):
        raise NoPicture


def _encode_once(base: BaseModel) -> Encode:
    """Encodes each prompt the first time it is asked for, and then hands it out again. For one version alone."""
    kept: dict[str, EncodedPrompt] = {}

    def encode(version: Version, text: str) -> EncodedPrompt:
        if text not in kept:
            kept[text] = encode_prompt(base, version, text)
        return kept[text]

    return encode


def _batches(base: BaseModel, requests: Sequence[GenerationRequest], batch: int) -> list[list[int]]:
    """Places of the requests, grouped by picture size and cut into batches, in their order."""
    groups: dict[tuple[int, int], list[int]] = {}
    for place, request in enumerate(requests):
        groups.setdefault(_size_px(base, request), []).append(place)
    return [group[start : start + batch] for group in groups.values() for start in range(0, len(group), batch)]


def to_pictures(pixels: Sequence[Tensor] | Tensor) -> list[Image.Image]:
    """Pictures (3, height, width) in 0..1 -> 8-bit RGB images.

    By numpy, so that whoever's thread asks gets no helpers of torch's: with more of those than a CPU has cores, every
    other thread's work is slower (see `worker.process`).
    """
    arrays = [np.rint(np.nan_to_num(picture.float().cpu().numpy()).clip(0, 1) * 255) for picture in pixels]
    return [Image.fromarray(array.astype(np.uint8).transpose(1, 2, 0)) for array in arrays]
