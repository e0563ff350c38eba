"""Two individuals in one picture, and what of it is the base's doing:

    python -m benchmarks.two_together --names zigi,momo,bolt

Learns the individuals one after another and draws every two of them together, in both orders. The part of each thing is
held against the same part of drawn scenes of the two, on a scale from the class nouns' pictures (0) to the drawn ones
(1): once as they keep out of each other's places (docs/decisions/0024), once as they may mix. The same is measured with
nothing learned and each called by the name that the denoiser's training would have given it (docs/decisions/0011): what
a name brings is what this base can draw of two things at once, however well they are learned.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from benchmarks.continual.parts import cut_parts
from benchmarks.settings_trial import learn_in_turn, with_changes
from cns.base_model import BaseModel, load_base
from cns.captions import RetrievalCaptioner
from cns.compose import Version, compose
from cns.denoise import GenerationRequest, generate, to_pictures
from cns.judge import ImageEncoder, load_judge
from cns.metrics import Scale, clip_i, self_similarity
from cns.own_settings import load_usual_settings
from cns.phrases import load_calibration_prompts
from storybook import MODEL_FOLDER
from storybook.individuals import Individual, find_individual
from storybook.likeness import find_likeness
from storybook.names import Namer
from storybook.world import BACKGROUNDS, NOUNS, RELATIONS, Scene, draw, place_two

PLACES = ("on the grass", "on the beach", "in the snow", "at night")
SEEDS = 3  # pictures of each place
DRAWN = 8  # scenes of two that each half is compared with
GUIDANCE = 4.0

Half = tuple[float, float]
"""The left and the right thing's share of the way."""


def measure_pairs(
    base: BaseModel, version: Version, individuals: Sequence[Individual], likeness: ImageEncoder, apart: bool = True
) -> dict[str, Half]:
    """ "zigi,momo" -> shares of the way of zigi on the left and of momo on the right; every two, in both orders.

    apart: as in `GenerationRequest`.
    """
    untouched = compose(base)
    found = {}
    for left, right in permutations(individuals, 2):
        drawn = take_sides(draw_two(left, right))
        nouns = take_sides(_paint(base, untouched, left.noun, right.noun))
        made = take_sides(_paint(base, version, f"<{left.name}> {left.noun}", f"<{right.name}> {right.noun}", apart))
        shares = []
        for real, plain, ours in zip(drawn, nouns, made, strict=True):
            references = likeness.image_features(real)
            scale = Scale(clip_i(likeness.image_features(plain), references), self_similarity(references))
            shares.append(scale.share(clip_i(likeness.image_features(ours), references)))
        found[f"{left.name},{right.name}"] = (shares[0], shares[1])
    return found


def name_truly(base: BaseModel, individuals: Sequence[Individual]) -> Version:
    """The untouched base, each individual's token the name that the denoiser's training would have given it."""
    namer = Namer({noun: base.token_vectors(noun)[0] for noun in NOUNS})
    rng = np.random.default_rng(0)
    tokens = {f"<{who.name}>": (namer.name(who.thing, rng).to(base.device),) for who in individuals}
    return Version((), base.kv_weights, MappingProxyType(tokens))


def _paint(base: BaseModel, version: Version, left: str, right: str, apart: bool = True) -> list[Image.Image]:
    requests = [
        GenerationRequest(
            f"a photo of a {left} {RELATIONS[number % len(RELATIONS)]} a {right} {place}",
            seed=500 + 10 * seed,
            guidance=GUIDANCE,
            apart=apart,
        )
        for number, place in enumerate(PLACES)
        for seed in range(SEEDS)
    ]
    return to_pictures(generate(base, version, requests))


def draw_two(left: Individual, right: Individual) -> list[Image.Image]:
    rng = np.random.default_rng(5)
    return [
        Image.fromarray(
            draw(Scene(place_two(rng, left.thing, right.thing), BACKGROUNDS[number], None, int(rng.integers(2**31))))
        )
        for number in range(min(DRAWN, len(BACKGROUNDS)))
    ]


def take_sides(pictures: Sequence[Image.Image]) -> tuple[list[Image.Image], ...]:
    """The left part of each picture, and the right part of each."""
    return tuple([list(side) for side in zip(*(cut_parts(picture, 2) for picture in pictures), strict=True)])


def means(shares: Mapping[str, Half]) -> Half:
    """Mean over all pairs, of the first place and of the second."""
    return float(np.mean([first for first, _ in shares.values()])), float(
        np.mean([last for _, last in shares.values()])
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--names", default="zigi,momo,bolt")
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="NAME=VALUE")
    options = parser.parse_args()
    likeness = find_likeness(options.base)
    if likeness is None:
        raise SystemExit(f"{options.base} has no individuals' encoder.")
    base = load_base(options.base)
    individuals = [find_individual(name) for name in options.names.split(",")]
    settings = with_changes(load_usual_settings(options.base), options.changes)
    captioner = RetrievalCaptioner.of_base(load_judge(options.base / "clip"), options.base)
    version = learn_in_turn(base, individuals, settings, captioner, load_calibration_prompts(options.base))
    true = name_truly(base, individuals)
    for title, state, apart in (("learned", version, True), ("may mix", version, False), ("by true names", true, True)):
        shares = measure_pairs(base, state, individuals, likeness, apart)
        first, last = means(shares)
        rounded = {pair: tuple(round(share, 2) for share in both) for pair, both in shares.items()}
        sys.stdout.write(f"{title}: first place {first:.3f} second {last:.3f} {json.dumps(rounded)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
