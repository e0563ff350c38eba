"""What every experiment needs: learning (each learning once, however many experiments ask for it) and judging."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.experiments.subjects import Subject
from benchmarks.learning import learn_whole
from cns.base_model import BaseModel, load_base
from cns.captions import Captioner, RetrievalCaptioner
from cns.compose import Version, compose
from cns.delta import Delta
from cns.denoise import GenerationRequest
from cns.history_folder import write_atomically
from cns.judge import ImageEncoder, Judge, load_judge
from cns.learning import Concept
from cns.metrics import Scale, clip_i, clip_t, drift, self_similarity
from cns.own_settings import GenerationSettings, UsualSettings, load_generation_settings, load_usual_settings
from cns.phrases import load_calibration_prompts, load_generic_prompts
from cns.series import MadePictures, Series, make_series
from cns.settings import LearningSettings
from cns.teaching import Lesson, write_captions
from storybook.likeness import find_likeness

GENERIC_SEED = 900  # from here on, so that no generic picture starts from a subject's noise
QUICK_STEPS, QUICK_GENERIC = 6, 3


@dataclass(frozen=True)
class Fidelity:
    """How a subject's pictures are under one version.

    way: share of the way from the class noun's likeness (0) to real pictures' among each other (1), by the encoder of
    individuals. width: how far apart that encoder sees the two ends, as a cosine. clip_t: mean cosine of the pictures
    with their prompts, the class noun in the subject's place, by CLIP. features: (n, width) of the pictures.
    """

    way: float
    width: float
    clip_t: float
    features: Tensor


@dataclass(frozen=True)
class General:
    """How general prompts are drawn under a version, against the untouched base at the same seeds; all by CLIP.

    similarity: mean cosine of the pictures with the base's, 1 is unchanged. clip_t, base_clip_t: mean cosine with their
    prompts, of the version's pictures and of the base's.
    """

    similarity: float
    clip_t: float
    base_clip_t: float

    @property
    def lost(self) -> float:
        """Share of the base's text alignment that is gone; below 0 where it has grown."""
        return (self.base_clip_t - self.clip_t) / max(abs(self.base_clip_t), 0.01)


@dataclass
class Workshop:
    """A base with its judges, where subjects are taught and looked at.

    deltas: folder in which finished learnings are kept; asked for again, they are read from there.
    seeds: pictures of each of a subject's prompts. quick: few steps, to see that a program runs, not to learn anything.
    on_learning: is told in a sentence of each learning that begins.
    """

    base: BaseModel
    usual: UsualSettings
    clip: Judge
    likeness: ImageEncoder
    captioner: Captioner
    calibration: tuple[str, ...]
    generic: tuple[str, ...]
    deltas: Path
    drawing: GenerationSettings = field(default_factory=GenerationSettings)
    seeds: int = 3
    quick: bool = False
    on_learning: Callable[[str], object] = lambda sentence: None
    made: MadePictures = field(default_factory=dict)

    @property
    def settings(self) -> LearningSettings:
        """Those without changes: for values that reach everywhere."""
        return self.settings_with({})

    def settings_with(self, changes: Mapping[str, Any]) -> LearningSettings:
        """What is usual for the reach that `changes` ask for, else for everywhere, with the changes.

        Values learn at the rate that is usual at the token. Where they reach everywhere a base may let them learn so
        slowly that nobody is harmed; then the token says nearly all, and what guards and masks do is not to be seen.
        """
        rate = self.usual.by_reach["token"].lr_weights
        return self.usual.with_changes({"reach": "everywhere", "lr_weights": rate, **changes})

    # --- learning -------------------------------------------------------------------------------------------------

    def learn(
        self,
        subject: Subject,
        settings: LearningSettings,
        earlier: Sequence[Delta] = (),
        calibration: Sequence[str] | None = None,
    ) -> Delta:
        """The delta of `subject`, learned on top of `earlier`; read from the folder where it was learned before.

        calibration: the prompts that say what is general, the base's own where there are none.
        """
        if self.quick:
            settings = replace(settings, steps=QUICK_STEPS)
        calibration = self.calibration if calibration is None else tuple(calibration)
        if not settings.drift:  # then the others are not read, and a learning that differs in them is the same
            calibration = calibration[: settings.selection.general_prompts]
        captions = self.captions(subject)
        kept = self.deltas / f"{self._key(subject, captions, settings, earlier, calibration)}.safetensors"
        if kept.is_file():
            return Delta.from_bytes(kept.read_bytes(), base_id=self.base.id)
        self.on_learning(f"learning {subject.called}, {settings.steps} steps")
        concept = Concept(subject.name, subject.noun, subject.pictures, captions)
        delta = learn_whole(self.base, compose(self.base, earlier), concept, settings, calibration)
        write_atomically(kept, delta.to_bytes())
        return delta

    def captions(self, subject: Subject) -> tuple[str, ...]:
        """What the subject's pictures are taught with: its own captions, or the captioner's, with its token."""
        return write_captions(Lesson(subject.name, subject.noun, subject.pictures, subject.captions), self.captioner)

    def _key(
        self,
        subject: Subject,
        captions: Sequence[str],
        settings: LearningSettings,
        earlier: Sequence[Delta],
        calibration: Sequence[str],
    ) -> str:
        """SHA-256 over all that decides the outcome of a learning."""
        facts = [
            *(self.base.id, subject.name, subject.noun, captions, settings.to_json(), calibration),
            *(str(self.base.dtype), self.base.device.type, [delta.digest for delta in earlier]),
        ]
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
        for picture in subject.pictures:
            digest.update(picture.tobytes())
        return digest.hexdigest()

    def version(self, *deltas: Delta) -> Version:
        """The base with `deltas`, in order."""
        return compose(self.base, deltas)

    # --- judging --------------------------------------------------------------------------------------------------

    def draw(self, version: Version, asked: Sequence[tuple[str, int]]) -> Tensor:
        """A picture of each prompt with its seed, (n, 3, height, width) float32 in 0..1; none is made twice."""
        requests = tuple(
            GenerationRequest(
                prompt,
                seed=seed,
                steps=self.drawing.steps,
                guidance=self.drawing.guidance,
                sampler=self.drawing.sampler,
            )
            for prompt, seed in asked
        )
        return make_series(self.base, [Series(version, requests)], made=self.made)[0]

    def look_at(self, subject: Subject, version: Version, by: ImageEncoder | None = None) -> Fidelity:
        """How like itself a subject of `version` is drawn, by the encoder of individuals or `by`; and how well its
        prompts are followed.
        """
        likeness = by or self.likeness
        references = likeness.image_features(subject.references)
        nouns = self.about(subject, self.version(), subject.noun)
        pictures = self.about(subject, version, subject.called)
        features = likeness.image_features(pictures)
        scale = Scale(clip_i(likeness.image_features(nouns), references), self_similarity(references))
        texts = [prompt.replace("{}", subject.noun) for prompt in subject.prompts for _ in range(self.seeds)]
        aligned = clip_t(self.clip.image_features(pictures), self.clip.text_features(texts))
        return Fidelity(scale.share(clip_i(features, references)), scale.width, aligned, features)

    def about(self, subject: Subject, version: Version, called: str) -> Tensor:
        """Pictures (n, 3, height, width) of the subject's prompts, in which it is called so; `seeds` of each prompt."""
        prompts = [prompt.replace("{}", called) for prompt in subject.prompts]
        return self.draw(version, [(prompt, 50 + 10 * seed) for prompt in prompts for seed in range(self.seeds)])

    def look_at_general(self, version: Version, prompts: Sequence[str] | None = None) -> General:
        """What has become of prompts about nobody, the base's generic ones where none are given."""
        prompts = self.generic if prompts is None else tuple(prompts)
        asked = [(prompt, GENERIC_SEED + place) for place, prompt in enumerate(prompts)]
        before, after = (self.clip.image_features(self.draw(which, asked)) for which in (self.version(), version))
        texts = self.clip.text_features(prompts)
        return General(drift(before, after), clip_t(after, texts), clip_t(before, texts))

    def score(self, subject: Subject, delta: Delta, *earlier: Delta) -> dict[str, float]:
        """A learning in numbers, for JSON: the subject after it, general prompts after it, and what it changed."""
        version = self.version(*earlier, delta)
        fidelity, general = self.look_at(subject, version), self.look_at_general(version)
        return {
            "way": fidelity.way,
            "clip_t": fidelity.clip_t,
            "similarity": general.similarity,
            "lost": general.lost,
            "density": delta.report["density"]["concept"],
            "values": delta.size,
        }


def open_workshop(
    folder: Path, deltas: Path, *, quick: bool, on_learning: Callable[[str], object] = lambda sentence: None
) -> Workshop:
    """The workshop of the base in `folder`, a diffusers folder with a CLIP under `clip`.

    The encoder of individuals in that folder judges likeness, CLIP where there is none.
    """
    clip = load_judge(folder / "clip")
    generic, drawing = load_generic_prompts(folder), load_generation_settings(folder)
    return Workshop(
        base=load_base(folder, device="cuda" if torch.cuda.is_available() else "cpu"),
        usual=load_usual_settings(folder),
        clip=clip,
        likeness=find_likeness(folder) or clip,
        captioner=RetrievalCaptioner.of_base(clip, folder),
        calibration=load_calibration_prompts(folder),
        generic=generic[:QUICK_GENERIC] if quick else generic,
        deltas=deltas,
        drawing=replace(drawing, steps=4) if quick else drawing,
        seeds=1 if quick else 3,
        quick=quick,
        on_learning=on_learning,
    )
