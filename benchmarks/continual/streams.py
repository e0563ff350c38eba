"""A stream: concepts in the order they are learned, what to learn each from, and what to ask for afterwards."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise
from pathlib import Path
from typing import Literal

from PIL import Image

from benchmarks.continual.method import Lesson
from cns.captions import Captioner, with_token
from cns.errors import CnsError
from cns.phrases import load_phrase_bank
from cns.pictures import read_picture

PromptKind = Literal["own", "new", "with", "style"]
"""own: the concept in the setting it was taught in. new: in other places. with: beside another thing. style: drawn."""

PICTURES = (".png", ".jpg", ".jpeg", ".webp")


class StreamRefused(CnsError):
    """A stream cannot be made of what was given."""


@dataclass(frozen=True)
class ConceptPrompt:
    """template: "a photo of a {} on the grass"; in the place of {} stands the concept or its class noun."""

    kind: PromptKind
    template: str

    def about(self, subject: str) -> str:
        return self.template.replace("{}", subject)


@dataclass(frozen=True)
class StreamConcept:
    """One concept of a stream.

    lesson: what methods get. held_out: other pictures of it, for judging alone. beside: how it looks in its part of a
    picture with others, cut as `benchmarks.continual.parts.cut_parts` cuts; empty: as in `held_out`.
    prompts: what is asked of it. twin: the name of a concept that is like it on purpose, None where there is none.
    a_thing: whether it can stand beside another; styles and places cannot.
    """

    lesson: Lesson
    held_out: tuple[Image.Image, ...]
    prompts: tuple[ConceptPrompt, ...]
    beside: tuple[Image.Image, ...] = ()
    twin: str | None = None
    a_thing: bool = True

    @property
    def name(self) -> str:
        return self.lesson.name

    @property
    def class_noun(self) -> str:
        return self.lesson.class_noun

    @property
    def subject(self) -> str:
        """How prompts speak of it: "<rex> dog"."""
        return f"{self.lesson.token} {self.class_noun}"


@dataclass(frozen=True)
class Composition:
    """Several concepts in one picture, from left to right. template: "a photo of a {misty} next to a {cocoa}"."""

    names: tuple[str, ...]
    template: str

    def about(self, subjects: Mapping[str, str]) -> str:
        """The prompt with `subjects` in the places of the names."""
        return self.template.format_map(subjects)


@dataclass(frozen=True)
class Stream:
    """Concepts in their order, prompts that name none of them, and pictures of several of them together."""

    name: str
    concepts: tuple[StreamConcept, ...]
    generic_prompts: tuple[str, ...]
    compositions: tuple[Composition, ...]

    def first(self, count: int) -> "Stream":
        """The stream cut after `count` concepts, with the compositions that are then still possible.

        One that is shorter has a name of its own, so that what it gives never stands in for the whole stream's.
        """
        if count >= len(self.concepts):
            return self
        kept = without_lost_twins(self.concepts[:count])
        names = {concept.name for concept in kept}
        return replace(
            self,
            name=f"{self.name}-first-{count}",
            concepts=kept,
            compositions=tuple(one for one in self.compositions if names.issuperset(one.names)),
        )

    def reversed(self, name: str) -> "Stream":
        """The same concepts in the reverse order, asked for by the same prompts."""
        return replace(self, name=name, concepts=self.concepts[::-1])


def without_lost_twins(concepts: Sequence[StreamConcept]) -> tuple[StreamConcept, ...]:
    """The concepts, none with a twin that is not among them."""
    names = {concept.name for concept in concepts}
    return tuple(replace(one, twin=one.twin if one.twin in names else None) for one in concepts)


def compose_pairs(
    concepts: Sequence[StreamConcept], places: Sequence[str], pairs: int, triples: int
) -> list[Composition]:
    """Pictures of two and of three things: neighbours in the stream first, twins as soon as any, each at a place."""
    things = [concept for concept in concepts if concept.a_thing]
    twins = [(one.name, other.name) for one, other in combinations(things, 2) if one.twin == other.name]
    near = [(one.name, other.name) for one, other in pairwise(things)]
    wide = [(one.name, other.name) for one, other in combinations(things, 2)]
    twos = list(dict.fromkeys([*twins, *near, *wide]))[:pairs]
    threes = [tuple(one.name for one in things[start : start + 3]) for start in range(0, len(things) - 2, 2)][:triples]
    made = []
    for number, names in enumerate([*twos, *threes]):
        listed = " and ".join(f"a {{{name}}}" for name in names)
        if len(names) == 2:
            listed = f"a {{{names[0]}}} to the left of a {{{names[1]}}}"
        made.append(Composition(names, f"a photo of {listed} {places[number % len(places)]}"))
    return made


# --- streams of people's own pictures -------------------------------------------------------------------------------


def load_stream(
    name: str, folder: Path, captioner: Captioner, generic_prompts: Sequence[str], base_folder: Path | None = None
) -> Stream:
    """A stream from a folder with one subfolder for each concept, in the order of their names.

    A subfolder holds pictures and may hold concept.json: {"name": "rex", "noun": "dog", "order": 3, "learn": 5,
    "twin": "bob", "captions": ["a dog on a sofa", ...]}. Without it the subfolder's name is taken: "rex-dog" is <rex>
    of the noun dog. The first `learn` pictures (5, or all but one) are learned from, the others judged by.
    Raises StreamRefused for a folder without concepts, and for a concept without a noun or with a single picture.
    """
    found = [_load_concept(home, captioner, base_folder) for home in sorted(folder.iterdir()) if home.is_dir()]
    if not found:
        raise StreamRefused(f"{folder} has no subfolder, and so no concept.")
    concepts = without_lost_twins([concept for _, concept in sorted(found, key=lambda pair: pair[0])])
    places = load_phrase_bank(base_folder)[:3]
    pairs = compose_pairs(concepts, places, pairs=8, triples=2)
    return Stream(name, concepts, tuple(generic_prompts), tuple(pairs))


def _load_concept(home: Path, captioner: Captioner, base_folder: Path | None) -> tuple[tuple[int, str], StreamConcept]:
    """The concept with what it is ordered by."""
    try:
        facts = json.loads((home / "concept.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        facts = {}
    except ValueError as error:
        raise StreamRefused(f"{home / 'concept.json'} is not JSON.") from error
    name, _, noun = home.name.partition("-")
    name, noun = facts.get("name", name), facts.get("noun", noun.replace("-", " "))
    if not noun:
        raise StreamRefused(f"{home} does not say what kind of thing it is: call it {name}-NOUN or add concept.json.")
    pictures = [read_picture(path) for path in sorted(home.iterdir()) if path.suffix.lower() in PICTURES]
    if len(pictures) < 2:
        raise StreamRefused(f"{home} needs at least two pictures: one to learn from and one to judge by.")
    learn = min(int(facts.get("learn", 5)), len(pictures) - 1)
    taught = tuple(pictures[:learn])
    said = facts.get("captions") or captioner.caption(taught, noun)
    captions = tuple(with_token(caption, noun, f"<{name}>") for caption in said[:learn])
    if len(captions) != learn:
        raise StreamRefused(f"{home} has {len(captions)} captions for the {learn} pictures it is learned from.")
    lesson = Lesson(name, noun, taught, captions)
    prompts = thing_prompts(load_phrase_bank(base_folder), "red ball")
    order = int(facts.get("order", 0))
    return (order, home.name), StreamConcept(lesson, tuple(pictures[learn:]), prompts, twin=facts.get("twin"))


def thing_prompts(places: Sequence[str], other_thing: str) -> tuple[ConceptPrompt, ...]:
    """The prompts of a thing: alone, in three places, beside something else, and drawn."""
    return (
        ConceptPrompt("own", "a photo of a {}"),
        *(ConceptPrompt("new", f"a photo of a {{}} {place}") for place in places[:3]),
        ConceptPrompt("with", f"a photo of a {{}} to the left of a {other_thing} {places[3 % len(places)]}"),
        ConceptPrompt("style", f"a drawing of a {{}} {places[4 % len(places)]}"),
    )
