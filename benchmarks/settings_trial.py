"""One setting of the method on storybook individuals, learned one after another:

    python -m benchmarks.settings_trial --names casa,finn,turbo --set steps=200 --set selection.general_vote=0.5

For each individual: how far its pictures came from the class noun's likeness to that of real renders, and how much of
that is left at the end; for generic prompts: how alike they are to the untouched base's pictures from the same seeds.
The individuals to try settings on are not those of the demo, so that the demo's figures stay honest.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.learning import learn_whole, renders
from cns.base_model import BaseModel, load_base
from cns.captions import Captioner, RetrievalCaptioner, TemplateCaptioner
from cns.compose import Version, compose, extend
from cns.delta import Delta
from cns.denoise import GenerationRequest, generate, to_pictures
from cns.judge import ImageEncoder, load_judge
from cns.learning import Concept
from cns.metrics import clip_i, drift, self_similarity
from cns.own_settings import UsualSettings, load_usual_settings
from cns.phrases import load_calibration_prompts, load_generic_prompts
from cns.settings import LearningSettings, UnknownSetting
from cns.teaching import Lesson, write_captions
from storybook import MODEL_FOLDER
from storybook.individuals import Individual, find_individual
from storybook.likeness import find_likeness

PLACES = ("on the grass", "at night", "in front of a brick wall", "in the snow")
SEEDS = 3  # pictures of each place
GENERIC = 16
LEARNED_FROM, COMPARED_WITH = 5, 8  # pictures of each individual, never the same ones


@dataclass(frozen=True)
class Learned:
    """One individual: mean similarity of its pictures to real renders, at several moments.

    noun: of the class noun's pictures on the untouched base. real: of real renders among each other.
    """

    name: str
    noun: float
    right_after: float
    at_the_end: float
    real: float
    density: float
    final_loss: float
    seconds: float

    @property
    def way(self) -> float:
        """Share of the way from the class noun's likeness to real renders', right after learning."""
        return (self.right_after - self.noun) / (self.real - self.noun)

    @property
    def kept(self) -> float:
        """Share of the likeness right after learning that is left at the end."""
        return self.at_the_end / self.right_after


@dataclass(frozen=True)
class Trial:
    """What a setting gave. generic_*: similarity of generic pictures to the base's at the end, by both judges."""

    settings: Mapping[str, Any]
    learned: tuple[Learned, ...]
    generic_clip: float
    generic_likeness: float
    generic_rmse: float

    def to_json(self) -> dict[str, Any]:
        learned = [{**asdict(one), "way": one.way, "kept": one.kept} for one in self.learned]
        means = {key: float(np.mean([one[key] for one in learned])) for key in ("way", "kept", "density", "seconds")}
        return {**asdict(self), "learned": learned, "means": means}


def run_trial(
    base: BaseModel,
    settings: LearningSettings,
    individuals: Sequence[Individual],
    *,
    clip: ImageEncoder,
    likeness: ImageEncoder,
    captioner: Captioner,
    base_folder: Path = MODEL_FOLDER,
    guidance: float = 4.0,
) -> Trial:
    """Learn `individuals` one after another and measure."""
    calibration = load_calibration_prompts(base_folder)
    generic = [
        GenerationRequest(prompt, seed=900 + place, guidance=guidance)
        for place, prompt in enumerate(load_generic_prompts(base_folder)[:GENERIC])
    ]
    untouched = compose(base)
    generic_before = generate(base, untouched, generic)
    version: Version = untouched
    references, at_first, losses, seconds, densities, nouns = {}, {}, {}, {}, {}, {}
    for who in individuals:
        references[who.name] = likeness.image_features(renders(who, COMPARED_WITH, seed=77))
        nouns[who.name] = similarity_of(base, untouched, who, who.noun, likeness, references, guidance)
        delta, seconds[who.name] = learn_one(base, version, who, settings, captioner, calibration)
        losses[who.name] = delta.report["final_loss"]
        densities[who.name] = delta.report["density"]["concept"]
        version = compose(base, [*version.deltas, delta])
        at_first[who.name] = similarity_of(
            base, version, who, f"<{who.name}> {who.noun}", likeness, references, guidance
        )
    learned = [
        Learned(
            name=who.name,
            noun=nouns[who.name],
            right_after=at_first[who.name],
            at_the_end=similarity_of(base, version, who, f"<{who.name}> {who.noun}", likeness, references, guidance),
            real=self_similarity(references[who.name]),
            density=densities[who.name],
            final_loss=losses[who.name],
            seconds=seconds[who.name],
        )
        for who in individuals
    ]
    generic_after = generate(base, version, generic)
    difference = torch.stack(generic_after) - torch.stack(generic_before)
    return Trial(
        settings=settings.to_json(),
        learned=tuple(learned),
        generic_clip=_drift(clip, generic_before, generic_after),
        generic_likeness=_drift(likeness, generic_before, generic_after),
        generic_rmse=float(difference.square().mean().sqrt()),
    )


def learn_one(
    base: BaseModel,
    version: Version,
    who: Individual,
    settings: LearningSettings,
    captioner: Captioner,
    calibration: Sequence[str],
) -> tuple[Delta, float]:
    """Teach `version` one individual more, from five pictures: what was learned, and in how many seconds."""
    pictures = renders(who, LEARNED_FROM, seed=300)
    started = time.monotonic()
    captions = write_captions(Lesson(who.name, who.noun, tuple(pictures)), captioner)
    concept = Concept(who.name, who.noun, tuple(pictures), captions)
    delta = learn_whole(base, version, concept, settings, calibration)
    return delta, time.monotonic() - started


def learn_in_turn(
    base: BaseModel,
    individuals: Sequence[Individual],
    settings: LearningSettings,
    captioner: Captioner,
    calibration: Sequence[str],
) -> Version:
    """The version that knows all of them, each learned on top of those before it."""
    version = compose(base)
    for who in individuals:
        delta, _ = learn_one(base, version, who, settings, captioner, calibration)
        version = extend(base, version, [delta])
    return version


def similarity_of(
    base: BaseModel,
    version: Version,
    who: Individual,
    called: str,
    likeness: ImageEncoder,
    references: Mapping[str, Tensor],
    guidance: float,
) -> float:
    """Mean similarity of pictures of `called` in every place to the real renders of `who`: a cosine."""
    requests = [
        GenerationRequest(f"a photo of a {called} {place}", seed=50 + 10 * seed, guidance=guidance)
        for place in PLACES
        for seed in range(SEEDS)
    ]
    made = likeness.image_features(to_pictures(generate(base, version, requests)))
    return clip_i(made, references[who.name])


def _drift(judge: ImageEncoder, before: Sequence[Tensor], after: Sequence[Tensor]) -> float:
    return drift(judge.image_features(torch.stack(tuple(before))), judge.image_features(torch.stack(tuple(after))))


def with_changes(usual: UsualSettings, changes: Sequence[str]) -> LearningSettings:
    """What is usual with "name=value" and "selection.name=value" applied; values are JSON."""
    own: dict[str, Any] = {"selection": {}}
    for change in changes:
        name, _, value = change.partition("=")
        kind = own["selection"] if name.startswith("selection.") else own
        try:
            kind[name.removeprefix("selection.")] = json.loads(value)
        except ValueError:
            kind[name.removeprefix("selection.")] = value
    try:
        return usual.with_changes(own)
    except UnknownSetting as error:
        raise SystemExit(str(error)) from error


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--names", default="casa,tiger,gizmo")
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="NAME=VALUE")
    parser.add_argument("--captions", choices=("retrieval", "template"), default="retrieval")
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--out", type=Path, help="append the outcome to this file, one JSON object a line")
    options = parser.parse_args()
    likeness = find_likeness(options.base)
    if likeness is None:
        raise SystemExit(f"{options.base} has no individuals' encoder.")
    judge = load_judge(options.base / "clip")
    by_retrieval = options.captions == "retrieval"
    trial = run_trial(
        load_base(options.base),
        with_changes(load_usual_settings(options.base), options.changes),
        [find_individual(name) for name in options.names.split(",")],
        clip=judge,
        likeness=likeness,
        captioner=RetrievalCaptioner.of_base(judge, options.base) if by_retrieval else TemplateCaptioner(),
        base_folder=options.base,
        guidance=options.guidance,
    )
    outcome = {"changes": options.changes, **trial.to_json()}
    if options.out:
        with options.out.open("a", encoding="utf-8") as file:
            file.write(json.dumps(outcome) + "\n")
    learned = "  ".join(f"{one.name} {one.way:.2f} kept {one.kept:.2f}" for one in trial.learned)
    means = outcome["means"]
    sys.stdout.write(
        f"{' '.join(options.changes) or 'defaults'}: way {means['way']:.3f} kept {means['kept']:.3f} "
        f"generic {trial.generic_clip:.3f}/{trial.generic_likeness:.3f} rmse {trial.generic_rmse:.3f} "
        f"density {means['density']:.3f} {means['seconds']:.0f} s | {learned}\n"
    )


if __name__ == "__main__":
    main()
