"""Learning one concept: a run that is built, stepped from outside, saved and resumed, and finished into a Delta.

What is trained is one vector of the selected values and the concept's own token. Nothing else can move: an entry that
was not selected is not among the parameters, and the base is only read.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDPMScheduler
from PIL import Image
from safetensors.torch import load, save
from torch import Tensor, nn

from cns.base_model import BaseModel
from cns.compose import Version
from cns.delta import Delta
from cns.errors import CnsError
from cns.kv import handed_attention, keys_and_values, predict
from cns.losses import (
    PREDICTIONS,
    diffusion_loss,
    diffusion_target,
    draw_times,
    energy,
    feature_moment,
    min_snr_weights,
    noisy_latents,
    protection_loss,
)
from cns.phrases import load_calibration_prompts
from cns.pictures import to_latent_pixels
from cns.selection import ConceptMasks, Selector, overlap, select_concept_neurons
from cns.settings import LearningSettings, SelectionSettings
from cns.text import TOKEN, TokenVectors

__all__ = ["Concept", "LearningRefused", "LearningRun", "LearningSettings", "SelectionSettings"]

SMALLEST_SHARE = 1e-4
"""Of a layer's energy: what earlier concepts are taken to have changed there at least, where they changed nothing."""

HALF_LOSS_SCALE = 2.0**10
"""On a base in float16 gradients are that much larger on their way back, and the size they should be afterwards.

A mean over many latent positions has gradients near the smallest numbers of float16: without this they were 1 % off at
64 x 64 latents, with it 0.07 %. A power of two, so nothing is rounded by it.
"""


class LearningRefused(CnsError):
    """A learning was asked for that cannot be done as asked."""


def _prompts_of(delta: Delta) -> tuple[str, ...]:
    """What an earlier concept was taught with, and its plain name: after other words it is not the same features."""
    name = f"a photo of a <{delta.concept}> {delta.class_noun}"
    return tuple(dict.fromkeys([name, *delta.report.get("captions", ())]))


@dataclass(frozen=True)
class Concept:
    """What is to be learned: a name ("rex"), its class noun ("dog"), pictures, and their captions with its token."""

    name: str
    class_noun: str
    pictures: tuple[Image.Image, ...]
    captions: tuple[str, ...]

    @property
    def token(self) -> str:
        return f"<{self.name}>"

    def __post_init__(self) -> None:
        if not TOKEN.fullmatch(self.token):
            raise LearningRefused(f"The name {self.name!r} may hold letters, digits, - and _ only, and at least one.")
        if not self.pictures:
            raise LearningRefused(f"There is no picture of {self.name!r} to learn from.")
        if len(self.captions) != len(self.pictures):
            raise LearningRefused(f"{len(self.pictures)} pictures need as many captions, not {len(self.captions)}.")
        for caption in self.captions:
            if self.token not in caption:
                raise LearningRefused(f"The caption {caption!r} does not name {self.token}.")


class LearningRun:
    """One learning of one concept on top of a version.

    selector: who chooses the entries. masks: what it found. losses: the diffusion loss of every step so far.
    steps_done, done: how far it is.
    The same inputs give the same delta bytes on the same machine; so does a run that was saved and resumed.
    """

    def __init__(
        self,
        base: BaseModel,
        version: Version,
        concept: Concept,
        settings: LearningSettings,
        *,
        calibration: Sequence[str] | None = None,
        selector: Selector = select_concept_neurons,
        resume: bytes | None = None,
    ):
        if concept.token in version.tokens:
            raise LearningRefused(f"This version already knows {concept.token}; a new concept needs another name.")
        self.base, self.version, self.concept, self.settings = base, version, concept, settings
        self.losses: list[float] = []
        self.steps_done = 0
        self._prepare_token()
        self._prepare_pictures()
        self._calibration = tuple(calibration) if calibration is not None else load_calibration_prompts()
        self._selector = selector
        self._select(self._calibration)
        self._weigh_what_is_guarded()
        self._prepare_schedule()
        if resume is not None:
            self._restore(resume)

    # --- preparing -----------------------------------------------------------------------------------------------

    def _prepare_token(self) -> None:
        start = self.base.token_vectors(self.concept.class_noun)
        self.token = nn.ParameterList([nn.Parameter(vector.to(self.base.device)) for vector in start])

    def _prepare_pictures(self) -> None:
        """Latents of every picture, and of its mirror image when asked for: computed once."""
        side = self.settings.resolution_px or self.base.native_px
        pixels = torch.cat([to_latent_pixels(picture, side) for picture in self.concept.pictures])
        self._captions = tuple(dict.fromkeys(self.concept.captions))  # each distinct one once
        captions = [self._captions.index(caption) for caption in self.concept.captions]
        if self.settings.flip:
            pixels, captions = torch.cat([pixels, pixels.flip(-1)]), captions * 2
        self._side_px = side
        self._latents = torch.cat([self.base.encode_images(part) for part in pixels.split(8)]).float()
        self._caption_of = torch.tensor(captions)

    @torch.no_grad()
    def _select(self, calibration: Sequence[str]) -> None:
        selection = self.settings.selection
        if len(calibration) < selection.general_prompts:
            raise LearningRefused(
                f"{selection.general_prompts} calibration prompts are asked for, but there are {len(calibration)}."
            )
        weights = self.version.weights
        captions = self.base.text_features(self.concept.captions, self._tokens())
        asked = calibration[: selection.general_prompts]
        general = self.base.text_features(asked, self.version.tokens) if asked else None
        self.masks: ConceptMasks = self._selector(weights, captions, general, selection)
        self._where = {layer: mask.flatten().nonzero().flatten() for layer, mask in self.masks.concept.items()}
        self._sizes = [len(where) for where in self._where.values()]
        self._before = self._gather(weights)
        self._original = self._gather(self.base.kv_weights)
        owned = self.version.owned
        self._owned = torch.cat(
            [
                owned[layer].to(where.device).flatten()[where]
                if layer in owned
                else torch.zeros(len(where), dtype=torch.bool, device=where.device)
                for layer, where in self._where.items()
            ]
        )
        self.values = nn.Parameter(self._before.clone())  # (n,) float32: every selected value of every layer
        self._overlap_with_earlier = overlap(self.masks.concept, owned)

    def _gather(self, weights: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([weights[layer].detach().flatten()[where].float() for layer, where in self._where.items()])

    @torch.no_grad()
    def _weigh_what_is_guarded(self) -> None:
        """What must go on meaning the same: general prompts, the captions without the token, every earlier concept.

        Of each: the second moment of its text features, and per layer the energy a change is measured against. That is
        the whole of keys and values for general prompts, but for earlier concepts only what learning them has changed:
        a change that nobody would see in a general prompt can be all that tells a concept from its class.
        """
        concept, version, settings = self.concept, self.version, self.settings
        self._guarded: list[tuple[float, Tensor, dict[str, Tensor]]] = []
        if settings.drift:
            bare = [
                re.sub(f"{concept.token}( {re.escape(concept.class_noun)})?", concept.class_noun, caption)
                for caption in concept.captions
            ]
            moment = feature_moment(self._features([*self._calibration, ""])) + feature_moment(self._features(bare))
            whole = {layer: energy(version.weights[layer].float(), moment) for layer in self._where}
            self._guarded.append((settings.drift, moment, whole))
        if settings.interference and version.deltas:
            prompts = [prompt for delta in version.deltas for prompt in _prompts_of(delta)]
            moment = feature_moment(self._features(prompts))
            original = self.base.kv_weights
            taught = {}
            for layer in self._where:
                weight = version.weights[layer].float()
                least = SMALLEST_SHARE * energy(weight, moment)
                taught[layer] = energy(weight - original[layer].float(), moment).maximum(least)
            # The moment is a mean over all their prompts: times their number, each is kept as firmly as one alone.
            self._guarded.append((settings.interference * len(version.deltas), moment, taught))

    def _features(self, prompts: Sequence[str]) -> Tensor:
        return self.base.text_features(prompts, self.version.tokens).hidden

    def _prepare_schedule(self) -> None:
        if self.base.prediction_type not in PREDICTIONS:
            known = " and ".join(PREDICTIONS)
            raise LearningRefused(f"This base predicts {self.base.prediction_type!r}; only {known} can be learned on.")
        schedule: Any = DDPMScheduler.from_config(dict(self.base.scheduler_config))
        self._signal = schedule.alphas_cumprod.to(self.base.device)  # (steps of training,) 1 clean .. 0 noise alone
        # No decay: AdamW's would pull values towards nothing, and the regulariser already says where to.
        self._optimizer = torch.optim.AdamW(
            [
                {"params": [self.values], "lr": self.settings.lr_weights},
                {"params": list(self.token), "lr": self.settings.lr_token},
            ],
            betas=(0.9, 0.99),
            weight_decay=0.0,
        )

    # --- stepping ------------------------------------------------------------------------------------------------

    @property
    def done(self) -> bool:
        return self.steps_done >= self.settings.steps

    def step(self) -> float:
        """One optimiser step; returns its diffusion loss. Raises LearningRefused when all steps are done."""
        if self.done:
            raise LearningRefused("This learning has taken all its steps.")
        settings, device = self.settings, self.base.device
        self.values.requires_grad_(self.steps_done >= self._values_join)
        # Drawn anew from the seed and the step's number, so that a resumed run needs no generator's state.
        generator = torch.Generator().manual_seed((settings.seed * 1_000_003 + self.steps_done) % 2**63)
        rows = torch.randint(len(self._latents), (settings.batch,), generator=generator)
        rows = rows[self._caption_of[rows].argsort(stable=True)]  # the rows of one caption side by side
        times = draw_times(settings.batch, len(self._signal), settings.time_power, generator).to(device)
        noise = torch.randn((settings.batch, *self._latents.shape[1:]), generator=generator).to(device)
        clean = self._latents[rows.to(device)]
        signal = self._signal[times]
        target = diffusion_target(clean, noise, signal, self.base.prediction_type)
        weights = None
        if settings.min_snr_gamma is not None:
            weights = min_snr_weights(signal, settings.min_snr_gamma, self.base.prediction_type)
        with self._borrowed_unet():
            made = self._predict(noisy_latents(clean, noise, signal), times, self._caption_of[rows])
            loss = diffusion_loss(made, target, weights)
            kept = protection_loss(self.values, self._before, self._original, self._owned, settings.l1, settings.l2)
            if self._guarded:
                kept = kept + self._guarding_loss()
            self._set_gradients(loss + kept)
        self._set_rates()
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        self.steps_done += 1
        self.losses.append(loss.item())
        return self.losses[-1]

    def _set_gradients(self, loss: Tensor) -> None:
        if self.base.dtype is not torch.float16:
            loss.backward()
            return
        (loss * HALF_LOSS_SCALE).backward()
        for parameter in self._parameters():
            if parameter.grad is not None:
                parameter.grad /= HALF_LOSS_SCALE

    def _predict(self, noisy: Tensor, times: Tensor, captions: Tensor) -> Tensor:
        """The UNet's answer (batch, channels, height, width), differentiable in the values and the token.

        captions: (batch,) int64 ascending, which caption each row has.
        """
        base, settings = self.base, self.settings
        # Each caption that was drawn goes through the text encoder once, however many rows of the batch it has.
        drawn, counted = captions.unique(return_counts=True)
        counts = counted.tolist()
        features = base.text_features([self._captions[index] for index in drawn.tolist()], self._tokens())
        kv = keys_and_values(self._weights(), features.hidden)
        rows = {layer: (repeat_rows(key, counts), repeat_rows(value, counts)) for layer, (key, value) in kv.items()}
        pooled = repeat_rows(features.pooled, counts) if features.pooled is not None else None
        added = base.added_conditions(pooled, self._side_px, self._side_px)
        with torch.autocast(base.device.type, torch.bfloat16, enabled=settings.mixed_precision):
            return predict(base, noisy.to(base.dtype), times, rows, added)

    @contextmanager
    def _borrowed_unet(self) -> Iterator[None]:
        """The shared UNet with K and V handed in, and with checkpointing when asked for, forwards and backwards."""
        unet, checkpointing = self.base.unet, self.settings.gradient_checkpointing
        with handed_attention(unet):
            if checkpointing:
                unet.enable_gradient_checkpointing()
            try:
                yield
            finally:
                if checkpointing:
                    unet.disable_gradient_checkpointing()

    def _weights(self) -> Mapping[str, Tensor]:
        """The version's weights with the vector's values in their places; gradients reach the vector alone."""
        made: dict[str, Tensor] = {}
        for (layer, where), part in zip(self._where.items(), self.values.split(self._sizes), strict=True):
            weight = self.version.weights[layer].detach()
            made[layer] = weight.flatten().scatter(0, where, part.to(weight.dtype)).view(weight.shape)
        return made

    def _guarding_loss(self) -> Tensor:
        """Drift and interference (docs/decisions/0010), scalar: per layer, then meant over the layers.

        Drift is ||dW c||^2 / ||W c||^2 over features c of general prompts; interference is ||dW c||^2 / ||D c||^2 over
        those of earlier concepts' prompts, with D what learning them has changed.
        """
        total = torch.zeros((), device=self.values.device)
        parts = (self.values - self._before).split(self._sizes)
        for (layer, where), part in zip(self._where.items(), parts, strict=True):
            weight = self.version.weights[layer]
            change = torch.zeros(weight.numel(), device=where.device).scatter(0, where, part).view(weight.shape)
            for firmness, moment, against in self._guarded:
                total = total + firmness * energy(change, moment) / against[layer]
        return total / len(self._where)

    def _tokens(self) -> dict[str, TokenVectors]:
        return {**self.version.tokens, self.concept.token: tuple(self.token)}

    def _set_rates(self) -> None:
        settings = self.settings
        falling = max(1.0, settings.cooldown * settings.steps)
        fall = min(1.0, (settings.steps - self.steps_done) / falling)
        of_values, of_token = self._optimizer.param_groups
        of_values["lr"] = settings.lr_weights * self._rise(self.steps_done - self._values_join) * fall
        of_token["lr"] = settings.lr_token * self._rise(self.steps_done) * fall

    @property
    def _values_join(self) -> int:
        """The step from which the values learn too; before it the token learns by itself."""
        return int(self.settings.token_first * self.settings.steps)

    def _rise(self, step: int) -> float:
        """The share of a rate that is warm at the `step`-th of the steps in which its parameters learn."""
        return min(1.0, (step + 1) / max(1, self.settings.warmup_steps))

    # --- results -------------------------------------------------------------------------------------------------

    def finish(self) -> Delta:
        """The learned values as a Delta. Raises LearningRefused while steps are left, or when the learning diverged."""
        if not self.done:
            raise LearningRefused(f"This learning has taken {self.steps_done} of {self.settings.steps} steps.")
        return self._delta()

    def sample_version(self) -> Version:
        """The version as it would be if learning stopped now, for sample pictures on the way."""
        weights = {layer: weight.detach() for layer, weight in self._weights().items()}
        tokens = {name: tuple(vector.detach() for vector in vectors) for name, vectors in self._tokens().items()}
        return Version(self.version.deltas, weights, tokens)

    def _delta(self) -> Delta:
        values = self.values.detach().half()  # a value beyond the range of float16 becomes infinite and is refused
        if not bool(torch.isfinite(values).all()) or not all(bool(torch.isfinite(v).all()) for v in self.token):
            raise LearningRefused("The learning diverged: its values are not finite. Try lower learning rates.")
        parts = zip(self._where.items(), values.split(self._sizes), strict=True)
        kept = {layer: (where.cpu(), part.cpu()) for (layer, where), part in parts if len(where)}
        return Delta(
            concept=self.concept.name,
            class_noun=self.concept.class_noun,
            base_id=self.base.id,
            parent=self.version.digest,
            positions={layer: where for layer, (where, _) in kept.items()},
            values={layer: part for layer, (_, part) in kept.items()},
            shapes={layer: _shape(self.masks.concept[layer]) for layer in kept},
            token_vectors=tuple(vector.detach().float().cpu().clone() for vector in self.token),
            settings=self.settings.to_json(),
            report=self.report(),
        )

    def report(self) -> dict[str, Any]:
        """What is worth knowing about the run: densities of the three masks, overlap with earlier concepts, losses."""
        last = self.losses[-max(1, len(self.losses) // 10) :]
        return {
            "density": self.masks.densities(),
            "overlap": self._overlap_with_earlier,
            "values": int(self.values.numel()),
            "captions": list(self.concept.captions),
            "final_loss": sum(last) / max(1, len(last)),
        }

    # --- stopping and going on -----------------------------------------------------------------------------------

    def checkpoint(self) -> bytes:
        """Everything a run that is built from the same inputs needs to go on as if it had not been stopped."""
        tensors = {"values": self.values.detach()}
        tensors |= {f"token.{place}": vector.detach() for place, vector in enumerate(self.token)}
        for index, parameter in enumerate(self._parameters()):
            for key, moment in self._optimizer.state.get(parameter, {}).items():
                tensors[f"moments.{index}.{key}"] = moment
        facts = {"inputs": self._fingerprint(), "steps_done": self.steps_done, "losses": self.losses}
        saved: bytes = save(
            {name: tensor.cpu().contiguous() for name, tensor in tensors.items()},
            metadata={"palimpsest-checkpoint": json.dumps(facts)},
        )
        return saved

    def _restore(self, data: bytes) -> None:
        try:
            length = int.from_bytes(data[:8], "little")
            facts = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["palimpsest-checkpoint"])
            tensors = load(data)
            inputs, steps_done, losses = facts["inputs"], int(facts["steps_done"]), [*map(float, facts["losses"])]
        except Exception as error:  # whatever the reader raises: nothing of a file it refused may be used
            raise LearningRefused("This checkpoint cannot be read.") from error
        if inputs != self._fingerprint():
            raise LearningRefused("This checkpoint belongs to another learning: its inputs or settings differ.")
        with torch.no_grad():
            self.values.copy_(tensors["values"])
            for place, vector in enumerate(self.token):
                vector.copy_(tensors[f"token.{place}"])
        for index, parameter in enumerate(self._parameters()):
            found = {name.split(".")[2]: t for name, t in tensors.items() if name.startswith(f"moments.{index}.")}
            if found:
                self._optimizer.state[parameter] = {
                    key: moment if key == "step" else moment.to(parameter.device) for key, moment in found.items()
                }
        self.steps_done, self.losses = steps_done, losses

    def _parameters(self) -> list[nn.Parameter]:
        return [self.values, *self.token]

    def _fingerprint(self) -> str:
        """SHA-256 over all that decides the result: base, version, concept, pictures as latents, settings, spots."""
        facts = {
            "base": self.base.id,
            "version": self.version.digest,
            "concept": [self.concept.name, self.concept.class_noun, *self.concept.captions],
            "settings": self.settings.to_json(),
            "calibration": self._calibration,
        }
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        digest.update(self._latents.cpu().numpy().tobytes())
        for where in self._where.values():
            digest.update(where.cpu().numpy().tobytes())
        return digest.hexdigest()


def repeat_rows(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """Row i of `rows` (n, ...) `counts[i]` times, one after the other: (sum of counts, ...).

    Not by indexing: where an index repeats, several threads add up its gradient in whatever order they come, and the
    last bits would differ between two equal runs.
    """
    return torch.cat([row.expand(count, *row.shape[1:]) for row, count in zip(rows.split(1), counts, strict=True)])


def _shape(mask: Tensor) -> tuple[int, int]:
    return int(mask.shape[0]), int(mask.shape[1])
