"""Learning one concept: a run that is built, stepped from outside, saved and resumed, and finished into a Delta.

What is trained is one vector of the selected values and the concept's own token. Nothing else can move: an entry that
was not selected is not among the parameters, and the base is only read.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from textwrap import shorten
from typing import Any

import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from cns.at_tokens import find_places, put_in_places, with_own_values
from cns.base_model import BaseModel
from cns.checkpoint import Checkpoint, copy_state, fingerprint, take_state
from cns.compose import Version, owned_positions
from cns.concept import Concept
from cns.delta import Delta
from cns.entries import Entries
from cns.errors import LearningRefused
from cns.guards import guarding_gradient, weigh_guards
from cns.kv import LayerKV, keys_and_values
from cns.learned_kv import learned_keys_and_values
from cns.learning_rows import (
    AskedRows,
    DrawnRows,
    ask_unet,
    borrowed_unet,
    computing_dtype,
    draw_rows,
    encode_pictures,
    repeat_rows,
)
from cns.losses import PREDICTIONS, diffusion_loss, protection_loss
from cns.phrases import load_calibration_prompts
from cns.pieces import encode_prompts
from cns.pull import WIDE_PULL, pull_of_token
from cns.selection import Selector, overlap, select_concept_neurons
from cns.settings import LearningSettings, SelectionSettings
from cns.text import TextFeatures, TokenVectors

__all__ = ["Concept", "LearningRefused", "LearningRun", "LearningSettings", "SelectionSettings"]

HALF_LOSS_SCALE = 2.0**10
"""On a base in float16 gradients are that much larger on their way back, and the size they should be afterwards.

A mean over many latent positions has gradients near the smallest numbers of float16: without this they were 1 % off at
64 x 64 latents, with it 0.07 %. A power of two, so nothing is rounded by it.
"""

SHOWN = 80
"""How many characters of a caption an error tells: enough to find it."""


@dataclass(frozen=True)
class Losses:
    """Of one step, scalars: the diffusion loss, and the same as large as its gradients are to be made."""

    diffusion: Tensor
    scaled: Tensor


class LearningRun:
    """One learning of one concept on top of a version.

    selector: who chooses the entries. entries: what it chose. densities: of the three masks that led there.
    losses: the diffusion loss of every step so far. steps_done, done: how far it is.
    On a CPU the same inputs give the same delta bytes on the same machine; so does a run that was saved and resumed. On
    a GPU nothing asks for kernels that always add up in one order, and the last bits may differ.

    `step` takes a step of this run alone. Whoever takes it together with others' calls its three parts: `ask`, `judge`
    what the UNet answered, and `move` when the gradients are there. Up to `move` nothing has changed.
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
        self.pictures = encode_pictures(
            base,
            concept.pictures,
            concept.captions,
            resolution_px=settings.resolution_px,
            flip=settings.flip,
            crops=settings.crops,
            seed=settings.seed,
        )
        self._calibration = tuple(calibration) if calibration is not None else load_calibration_prompts()
        self._selector = selector
        self._select(self._calibration)
        layers = tuple(self.entries.where)
        self._guards = weigh_guards(base, version, concept, settings, self._calibration, layers)
        self._prepare_schedule()
        if resume is not None:
            self._restore(resume)

    # --- preparing -----------------------------------------------------------------------------------------------

    def _prepare_token(self) -> None:
        start = self.base.token_vectors(self.concept.class_noun)
        self.token = nn.ParameterList([nn.Parameter(vector.to(self.base.device)) for vector in start])

    @torch.no_grad()
    def _select(self, calibration: Sequence[str]) -> None:
        selection = self.settings.selection
        if len(calibration) < selection.general_prompts:
            raise LearningRefused(
                f"{selection.general_prompts} calibration prompts are asked for, but there are {len(calibration)}."
            )
        # Values that reach their token alone are the base's own before, whatever else the version has learned.
        self._at_token = self.settings.reach == "token"
        self._weights = weights = self.base.kv_weights if self._at_token else self.version.weights
        captions = encode_prompts(self.base, self.concept.captions, self._tokens())
        self._check_named(captions)
        asked = calibration[: selection.general_prompts]
        general = encode_prompts(self.base, asked, self.version.tokens) if asked else None
        masks = self._selector(weights, captions, general, selection)
        self.densities, self.entries = masks.densities(), Entries(masks.concept)
        self._before = self.entries.gather(weights)
        self._original = self.entries.gather(self.base.kv_weights)
        self._owned = self.entries.marked({} if self._at_token else owned_positions(self.version.reaching))
        self.values = nn.Parameter(self._before.clone())  # (n,) float32: every selected value of every layer
        self._overlap_with_earlier = overlap(masks.concept, self.version.owned)

    def _check_named(self, captions: TextFeatures) -> None:
        """Raise LearningRefused for a caption that ends before its token: it would teach others, or nothing at all."""
        named = set(find_places(captions, self.concept.token)[0].tolist())
        for row, caption in enumerate(self.concept.captions):
            if row not in named:
                raise LearningRefused(
                    f"A caption is cut before it comes to {self.concept.token}; write a shorter one than "
                    f'"{shorten(caption, SHOWN, placeholder=" ...")}".'
                )

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
        settings = self.settings
        drawn, asked = self.ask()
        with borrowed_unet(self.base, checkpointing=settings.gradient_checkpointing):
            [made] = ask_unet(self.base, [asked], mixed_precision=settings.mixed_precision)
            losses = self.judge(drawn, made)
            losses.scaled.backward()
        return self.move(losses)

    def ask(self) -> tuple[DrawnRows, AskedRows]:
        """The rows of the next step, and what the UNet is asked for them, differentiable in the values and the token.

        Gradients of the terms that keep what is known are there afterwards: they need no UNet, and so nothing of them
        is held while it is asked. Raises LearningRefused when all steps are done.
        """
        if self.done:
            raise LearningRefused("This learning has taken all its steps.")
        self.forget_gradients()  # of a step that was broken off
        self.values.requires_grad_(self.steps_done >= self._values_join)
        if self.values.requires_grad:  # values that wait for the token have moved nothing that would have to be kept
            self._keep()
        base = self.base
        drawn = draw_rows(self.pictures, self._signal, base.prediction_type, self.settings, self.steps_done)
        # Each caption that was drawn goes through the text encoder once, however many rows of the batch it has.
        which, counted = drawn.captions.unique(return_counts=True)
        counts = counted.tolist()
        features = base.text_features([self.pictures.captions[index] for index in which.tolist()], self._tokens())
        computed = computing_dtype(base, mixed_precision=self.settings.mixed_precision)
        rows = {
            layer: (repeat_rows(key, counts).to(computed), repeat_rows(value, counts).to(computed))
            for layer, (key, value) in self._keys_and_values(features).items()
        }
        pooled = repeat_rows(features.pooled, counts) if features.pooled is not None else None
        added = base.added_conditions(pooled, self.pictures.side_px, self.pictures.side_px)
        return drawn, AskedRows(drawn.noisy, drawn.times, rows, added)

    def _keys_and_values(self, features: TextFeatures) -> LayerKV:
        """K and V of captions (batch, tokens, out), differentiable in the values and the features.

        Other concepts that a caption names have theirs, as in every picture.
        """
        others, weights, hidden = self.version.at_tokens, self.base.kv_weights, features.hidden
        if not self._at_token:
            kv = learned_keys_and_values(self.entries, self._weights, self.values, hidden)
            return with_own_values(kv, others, weights, features)
        kv = with_own_values(keys_and_values(self.version.weights, hidden), others, weights, features)
        places = find_places(features, self.concept.token)
        own = learned_keys_and_values(self.entries, self._weights, self.values, hidden[places][None])
        return put_in_places(kv, own, places)

    def _keep(self) -> None:
        """Gradients of the regulariser, and of what guards."""
        settings, scale = self.settings, self._gradient_scale
        kept = protection_loss(self.values, self._before, self._original, self._owned, settings.l1, settings.l2)
        if not self._guards:
            (kept * scale).backward()
            return
        change = self.values - self._before
        guarding = guarding_gradient(self._guards, self.entries, change, self.version.weights, scale)
        torch.autograd.backward([kept * scale, change], [None, guarding])

    def judge(self, drawn: DrawnRows, made: Tensor) -> Losses:
        """made: the UNet's answer (batch, channels, height, width)."""
        loss = diffusion_loss(made, drawn.target, drawn.weights)
        return Losses(loss, loss * self._gradient_scale)

    def move(self, losses: Losses) -> float:
        """The optimiser's step along the gradients that are there now; returns the diffusion loss."""
        if self._gradient_scale != 1:
            for parameter in self._parameters():
                if parameter.grad is not None:
                    parameter.grad /= self._gradient_scale
        self._set_rates()
        self._optimizer.step()
        self.forget_gradients()
        self.steps_done += 1
        self.losses.append(losses.diffusion.item())
        return self.losses[-1]

    def forget_gradients(self) -> None:
        """Those of a step that failed on its way back would be added to the next one's."""
        self._optimizer.zero_grad(set_to_none=True)

    @property
    def _gradient_scale(self) -> float:
        return HALF_LOSS_SCALE if self.base.dtype is torch.float16 else 1.0

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
        so_far, pull = self._so_far(), self._pull()
        return replace(so_far, guided={**so_far.guided, self.concept.token: self._guided(pull)})

    def _so_far(self) -> Version:
        """The same, guided all the way."""
        version, values = self.version, self.values.detach()
        tokens = {name: tuple(vector.detach() for vector in vectors) for name, vectors in self._tokens().items()}
        if self._at_token:
            own = {layer: (where, part) for layer, where, part in self.entries.split(values)}
            at_tokens = {**version.at_tokens, self.concept.token: own}
            return Version(version.deltas, version.weights, tokens, at_tokens, version.guided)
        weights = self.entries.written_over(version.weights, values)
        return Version(version.deltas, weights, tokens, version.at_tokens, version.guided)

    def _pull(self) -> float | None:
        """`cns.pull` of the token as it is now, to three digits; None where nothing depends on it."""
        if not self._at_token or self.settings.wide_guided == 1:
            return None
        token, noun = self.concept.token, self.concept.class_noun
        pull = pull_of_token(self.base, self._so_far(), self.pictures, token, noun, self._signal)
        if not isfinite(pull):
            raise LearningRefused("The learning diverged: its pictures are not finite. Try lower learning rates.")
        return float(f"{pull:.3g}")

    def _guided(self, pull: float | None) -> float:
        """`Delta.guided` of a token that pulls so."""
        return self.settings.wide_guided if pull is not None and pull >= WIDE_PULL else 1.0

    def _delta(self) -> Delta:
        values = self.values.detach().half()  # a value beyond the range of float16 becomes infinite and is refused
        if not bool(torch.isfinite(values).all()) or not all(bool(torch.isfinite(v).all()) for v in self.token):
            raise LearningRefused("The learning diverged: its values are not finite. Try lower learning rates.")
        pull = self._pull()
        guided = self._guided(pull)
        kept = {layer: (where.cpu(), part.cpu()) for layer, where, part in self.entries.split(values) if len(where)}
        return Delta(
            concept=self.concept.name,
            class_noun=self.concept.class_noun,
            base_id=self.base.id,
            parent=self.version.digest,
            positions={layer: where for layer, (where, _) in kept.items()},
            values={layer: part for layer, (_, part) in kept.items()},
            shapes={layer: _shape(self.base.kv_weights[layer]) for layer in kept},
            token_vectors=tuple(vector.detach().float().cpu().clone() for vector in self.token),
            settings=self.settings.to_json(),
            report={**self.report(), **({"pull": pull, "guided": guided} if pull is not None else {})},
            reach=self.settings.reach,
            guided=guided,
        )

    def report(self) -> dict[str, Any]:
        """What is worth knowing about the run: densities of the three masks, overlap with earlier concepts, losses.

        overlap: share of the entries that an earlier concept has too; at its token each has a value of its own there.
        """
        last = self.losses[-max(1, len(self.losses) // 10) :]
        return {
            "density": self.densities,
            "overlap": self._overlap_with_earlier,
            "values": int(self.values.numel()),
            "reach": self.settings.reach,
            "captions": list(self.concept.captions),
            "final_loss": sum(last) / max(1, len(last)),
        }

    # --- stopping and going on -----------------------------------------------------------------------------------

    def checkpoint(self) -> bytes:
        """Everything a run that is built from the same inputs needs to go on as if it had not been stopped."""
        tensors = copy_state(self.values, list(self.token), self._optimizer)
        return Checkpoint(self._fingerprint(), self.steps_done, self.losses, tensors).to_bytes()

    def _restore(self, data: bytes) -> None:
        saved = Checkpoint.from_bytes(data)
        if saved.inputs != self._fingerprint():
            raise LearningRefused("This checkpoint belongs to another learning: its inputs or settings differ.")
        take_state(saved.tensors, self.values, list(self.token), self._optimizer)
        self.steps_done, self.losses = saved.steps_done, saved.losses

    def _parameters(self) -> list[nn.Parameter]:
        return [self.values, *self.token]

    def _fingerprint(self) -> str:
        """Of all that decides the result but for rounding: base, version, concept, pictures, settings, spots.

        Whoever goes on elsewhere, or on another number of threads, has latents whose last bits differ.
        """
        facts = {
            "base": self.base.id,
            "version": self.version.digest,
            "concept": [self.concept.name, self.concept.class_noun, *self.concept.captions],
            "pictures": self.pictures.sha256,
            "settings": self.settings.to_json(),
            "calibration": self._calibration,
        }
        return fingerprint(facts, self.entries.where.values())


def _shape(weight: Tensor) -> tuple[int, int]:
    return int(weight.shape[0]), int(weight.shape[1])
