"""What the demo draws at every version: panels with fixed seeds, as prompts for each state of knowledge."""

import string
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cns.denoise import GenerationRequest

Kind = Literal["concept", "two", "generic"]
KINDS: tuple[Kind, ...] = ("concept", "two", "generic")
PLACES = ("on the grass", "at night", "in front of a brick wall")
RELATIONS = ("next to", "to the left of")
TWO_PLACES = ("on the grass", "on the beach", "at night")
GENERIC = (
    "a photo of a red house on the beach",
    "a photo of a blue car next to a white boat at night",
    "a drawing of a green tree in the snow",
    "a photo of a yellow and black striped fish by the sea",
    "a photo of a purple mug on a grey background",
)


@dataclass(frozen=True)
class Settings:
    """How the demo draws. seeds: pictures of each panel; all of them are scored, the first is on the sheet."""

    steps: int = 25
    guidance: float = 4.0
    seeds: int = 2
    batch: int = 16


@dataclass(frozen=True)
class Panel:
    """One column of the sheet. template: "a photo of a {zigi} on the grass", where {zigi} stands for a concept."""

    kind: Kind
    template: str
    seed: int

    @property
    def concepts(self) -> tuple[str, ...]:
        return tuple(name for _, name, _, _ in string.Formatter().parse(self.template) if name)

    def plain_prompt(self, nouns: Mapping[str, str]) -> str:
        """The panel in the words that the base and the judge know: class nouns instead of concepts."""
        return self.template.format_map(nouns)

    def prompt_for(self, nouns: Mapping[str, str], learned: Collection[str]) -> str | None:
        """The prompt once the concepts in `learned` are known; None where one of the panel's own is still missing.

        On the untouched base (nothing learned) the class nouns stand in, to show what they are without learning.
        """
        if not learned:
            return self.plain_prompt(nouns)
        if not set(self.concepts) <= set(learned):
            return None
        return self.template.format_map({name: f"<{name}> {noun}" for name, noun in nouns.items()})


def plan_panels(concepts: Sequence[str]) -> tuple[Panel, ...]:
    """Three panels of each concept, each pair of neighbours in one picture, and the generic ones, in this order."""
    panels: list[Panel] = []
    for number, name in enumerate(concepts):
        panels += [
            Panel("concept", f"a photo of a {{{name}}} {place}", seed=100 * (number + 1) + 10 * turn)
            for turn, place in enumerate(PLACES)
        ]
    for number, (left, right) in enumerate(pairs(concepts)):
        relation, place = RELATIONS[number % len(RELATIONS)], TWO_PLACES[number % len(TWO_PLACES)]
        panels.append(Panel("two", f"a photo of a {{{left}}} {relation} a {{{right}}} {place}", seed=500 + 10 * number))
    panels += [Panel("generic", prompt, seed=700 + 10 * number) for number, prompt in enumerate(GENERIC)]
    return tuple(panels)


def pairs(concepts: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Every two concepts once, those learned first in front, so that each version adds pairs at the end."""
    return tuple((concepts[i], concepts[j]) for j in range(len(concepts)) for i in range(j))


def plan_requests(
    panels: Sequence[Panel], prompts: Sequence[str | None], settings: Settings
) -> dict[tuple[int, int], GenerationRequest]:
    """(place of the panel, number of the seed) -> what to generate, for the panels that have a prompt."""
    return {
        (place, number): GenerationRequest(
            prompt, seed=panel.seed + number, steps=settings.steps, guidance=settings.guidance
        )
        for place, (panel, prompt) in enumerate(zip(panels, prompts))
        if prompt is not None
        for number in range(settings.seeds)
    }
