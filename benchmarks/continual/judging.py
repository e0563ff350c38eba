"""What a model's pictures are worth after each concept: every figure of the table, from one set of pictures.

Two judges see every picture: the CLIP, and where the base has one an encoder trained to tell individuals apart, so that
no single model decides. Cosines of a judge mean little by themselves, so beside each stands its place between the class
noun's pictures on the untouched base (0) and real held-out ones among each other (1).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import permutations
from statistics import fmean
from typing import Any

from torch import Tensor

from benchmarks.continual.album import Album, paint_album
from benchmarks.continual.asking import Asking
from benchmarks.continual.method import OnStep, Painter, no_steps, plain_version
from benchmarks.continual.painted import Painted
from benchmarks.continual.parts import cut_parts
from benchmarks.continual.streams import Composition, Stream, StreamConcept
from cns.base_model import BaseModel
from cns.denoise import to_pictures
from cns.judge import ImageEncoder, Judge
from cns.metrics import Scale, clip_i, clip_score, clip_t, drift, self_similarity

MEASURES = 1
"""Raised when a figure comes to mean something else, so that cells judged before are judged again."""

CLIP = "clip"
INDIVIDUALS = "individuals"
HALF = 0.5
"""Of the way from class noun to real pictures: a part that is nearer to its noun's does not show its concept."""


@dataclass(frozen=True)
class Judges:
    """clip: of texts and pictures. individuals: who tells individuals apart, None where the base has nobody."""

    clip: Judge
    individuals: ImageEncoder | None = None

    @property
    def of_likeness(self) -> dict[str, ImageEncoder]:
        """Everyone who sees likeness, by name."""
        second = {INDIVIDUALS: self.individuals} if self.individuals is not None else {}
        return {CLIP: self.clip, **second}

    @property
    def of_parts(self) -> ImageEncoder:
        """Who says which concept a part of a picture shows: the one trained for it, where there is one."""
        return self.individuals or self.clip


@dataclass(frozen=True)
class Yardsticks:
    """What all methods are measured against on one stream: made once, with the untouched base.

    references: judge -> concept -> features of its held-out pictures (n, width). scales: judge -> concept -> `Scale`.
    parts: concept -> features of its part of real pictures with others; part_scales: the same scale for such parts, of
    the concepts that are asked for together. generic: judge -> features of the base's own pictures of the generic
    prompts; generic_texts: CLIP's of these prompts. texts: concept -> CLIP's of its prompts about its class noun.
    """

    references: Mapping[str, Mapping[str, Tensor]]
    scales: Mapping[str, Mapping[str, Scale]]
    parts: Mapping[str, Tensor]
    part_scales: Mapping[str, Scale]
    generic: Mapping[str, Tensor]
    generic_texts: Tensor
    texts: Mapping[str, Tensor]


class Jury:
    """Judges pictures of one stream. asking: what is painted; judges: who looks."""

    def __init__(self, base: BaseModel, stream: Stream, judges: Judges, asking: Asking) -> None:
        self.stream, self.judges, self.asking = stream, judges, asking
        self.yardsticks = self._make_yardsticks(Painter(base, plain_version(base)))

    def _make_yardsticks(self, base: Painter) -> Yardsticks:
        clip, concepts = self.judges.clip, self.stream.concepts
        requests = {one.name: self.asking.of_concept(one, one.class_noun) for one in concepts}
        generic = base.paint(self.asking.of_nobody(self.stream.generic_prompts))
        flat = [request for one in requests.values() for request in one]
        painted = iter(base.paint(list(dict.fromkeys(flat))))
        seen = dict(zip(dict.fromkeys(flat), painted, strict=True))
        references, scales = {}, {}
        for name, judge in self.judges.of_likeness.items():
            references[name] = {one.name: judge.image_features(list(one.held_out)) for one in concepts}
            scales[name] = {
                one.name: Scale(
                    clip_i(self._alike(judge, one, [seen[r] for r in requests[one.name]]), references[name][one.name]),
                    self_similarity(references[name][one.name]),
                )
                for one in concepts
            }
        parts = {
            one.name: self.judges.of_parts.image_features(list(one.beside or one.held_out))
            for one in concepts
            if one.a_thing
        }
        return Yardsticks(
            references,
            scales,
            parts,
            self._scale_parts(base, parts),
            {name: judge.image_features(to_pictures(generic)) for name, judge in self.judges.of_likeness.items()},
            clip.text_features(self.stream.generic_prompts),
            {one.name: clip.text_features([r.prompt for r in requests[one.name]]) for one in concepts},
        )

    def _scale_parts(self, base: Painter, parts: Mapping[str, Tensor]) -> dict[str, Scale]:
        """0 at the parts of pictures of the class nouns together, as the untouched base makes them."""
        nouns = {one.name: one.class_noun for one in self.stream.concepts}
        found: dict[str, list[float]] = {}
        for composition in self.stream.compositions:
            for picture in to_pictures(base.paint(self.asking.of_composition(composition, self.stream, nouns))):
                seen = self.judges.of_parts.image_features(cut_parts(picture, len(composition.names)))
                for name, part in zip(composition.names, seen.split(1), strict=True):
                    found.setdefault(name, []).append(clip_i(part, parts[name]))
        return {name: Scale(fmean(alike), self_similarity(parts[name])) for name, alike in found.items()}

    def _alike(self, judge: ImageEncoder, concept: StreamConcept, pictures: Sequence[Tensor]) -> Tensor:
        """Features of the pictures that show the concept alone: whatever stands beside it is not like it."""
        alone = [place for place, prompt in enumerate(concept.prompts) if prompt.kind != "with"]
        seeds = self.asking.concept_seeds
        return judge.image_features(to_pictures([pictures[seeds * p + turn] for p in alone for turn in range(seeds)]))

    # --- one stage ----------------------------------------------------------------------------------------------------

    def judge(
        self, painter: Painter, names: Sequence[str], on_step: OnStep = no_steps, painted: Painted | None = None
    ) -> tuple[dict[str, Any], Album]:
        """The figures of a model that has learned the concepts `names`, for JSON, and the pictures they are about.

        painted: the pictures of its stage before.
        """
        album = paint_album(painter, self.stream, self.asking, names, on_step, painted)
        learned = {one.name: one for one in self.stream.concepts if one.name in names}
        seen = {
            name: {
                judge: self._alike(encoder, learned[name], album.concepts[name])
                for judge, encoder in self.judges.of_likeness.items()
            }
            for name in names
        }
        figures = {
            "concepts": {name: self._judge_concept(learned[name], seen[name], album.concepts[name]) for name in names},
            "generic": self._judge_generic(album.generic),
            "compositions": [
                {"names": list(one.names), **self._judge_composition(one, pictures)}
                for one, pictures in album.compositions.items()
            ],
        }
        return figures, album

    def _judge_concept(
        self, concept: StreamConcept, seen: Mapping[str, Tensor], pictures: Sequence[Tensor]
    ) -> dict[str, Any]:
        figures: dict[str, Any] = {}
        for judge, features in seen.items():
            references = self.yardsticks.references[judge]
            alike, scale = clip_i(features, references[concept.name]), self.yardsticks.scales[judge][concept.name]
            figures[judge] = {
                "similarity": alike,
                "share": scale.share(alike),
                "noun": scale.noun,
                "real": scale.references,
            }
            if concept.twin is not None:
                figures[judge]["confused"] = _nearer(features, references[concept.twin], references[concept.name])
        spoken = self.judges.clip.image_features(to_pictures(pictures))
        figures["text"] = clip_t(spoken, self.yardsticks.texts[concept.name])
        figures["clip_score"] = clip_score(spoken, self.yardsticks.texts[concept.name])
        return figures

    def _judge_generic(self, pictures: Sequence[Tensor]) -> dict[str, float]:
        before = self.yardsticks.generic
        now = {name: judge.image_features(to_pictures(pictures)) for name, judge in self.judges.of_likeness.items()}
        texts = self.yardsticks.generic_texts
        return {
            **{f"{name}_similarity": drift(before[name], features) for name, features in now.items()},
            "text": clip_t(now[CLIP], texts),
            "base_text": clip_t(before[CLIP], texts),
            "clip_score": clip_score(now[CLIP], texts),
        }

    def _judge_composition(self, composition: Composition, pictures: Sequence[Tensor]) -> dict[str, float]:
        """present: share of pictures that show all of them: each part is nearest to a concept of its own, and at least
        half of the way from the class noun's parts to real ones. share: how much of that way the parts have come, each
        as the concept that it is best taken for; mean. clip_i: of the whole picture with each of its concepts (the
        paper's "multi"); clip_score: with the prompt in class nouns.
        """
        names, yardsticks = composition.names, self.yardsticks
        images = to_pictures(pictures)
        present, shares = [], []
        for image in images:
            seen = self.judges.of_parts.image_features(cut_parts(image, len(names)))  # (parts, width)
            near = {
                name: (seen.double() @ real.double().T).mean(dim=1).tolist() for name, real in yardsticks.parts.items()
            }
            taken_for = [max((alike[part], name) for name, alike in near.items())[1] for part in range(len(names))]
            reached = {name: [yardsticks.part_scales[name].share(alike) for alike in near[name]] for name in names}
            shown = sorted(taken_for) == sorted(names)
            present.append(shown and all(reached[name][part] >= HALF for part, name in enumerate(taken_for)))
            orders = permutations(names)
            shares.append(max(fmean(reached[name][part] for part, name in enumerate(order)) for order in orders))
        spoken = self.judges.clip.image_features(images)
        plain = composition.about({one.name: one.class_noun for one in self.stream.concepts})
        references = self.yardsticks.references[CLIP]
        return {
            "present": fmean(present),
            "share": fmean(shares),
            "clip_i": fmean(clip_i(spoken, references[name]) for name in names),
            "clip_score": clip_score(spoken, self.judges.clip.text_features([plain] * len(images))),
        }


def _nearer(features: Tensor, one: Tensor, than: Tensor) -> float:
    """Share of `features` (n, width) that are nearer to `one` (m, width) than to the other."""
    distance = (features.double() @ one.double().T).mean(dim=1) - (features.double() @ than.double().T).mean(dim=1)
    return float((distance > 0).double().mean())
