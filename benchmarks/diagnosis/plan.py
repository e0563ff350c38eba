"""Which learnings are made: recipes for each failure signature, and on whom they are tried. Data.

A history is two individuals learned as usual; each recipe then learns a third one on top of it. Values that apply at
their token alone can harm nobody, so what is made to do harm has values that reach everywhere, on a history of such.
The demo's samples take no part, so that its figures stay honest.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

from benchmarks.two_tones import TwoTones
from cns.own_settings import UsualSettings
from cns.remedies import Signature
from cns.settings import LearningSettings, Reach, change_settings
from storybook.individuals import INDIVIDUALS, SAMPLES, Individual

PICTURES = 5
ALL: frozenset[Signature] = frozenset(("underfitting", "zero-shot damage", "bleeding", "forgetting"))
REST = ALL - {"underfitting"}


@dataclass(frozen=True)
class Recipe:
    """One way to learn. factors: setting -> by what the usual value is multiplied; changes: what replaces it.

    made_for: signatures that it is made to have. free_of: signatures that it is made not to have. Of those in neither
    nothing is known beforehand, and nothing is counted. similar: the concept has the class noun of the history's first;
    style: it is how pictures are drawn.
    reach: of its values and of the history's; None for the base's own.
    """

    name: str
    told: str
    made_for: frozenset[Signature] = frozenset()
    free_of: frozenset[Signature] = frozenset()
    factors: Mapping[str, float] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    similar: bool = False
    style: bool = False
    pictures: int = PICTURES
    reach: Reach | None = None

    def before(self, usual: UsualSettings) -> LearningSettings:
        """What the history is learned with."""
        return usual.by_reach[self.reach or usual.own.reach]

    def settings(self, usual: UsualSettings) -> LearningSettings:
        """The same with what this recipe does otherwise."""
        values = self.before(usual).to_json()
        scaled = {name: factor * values[name] for name, factor in self.factors.items()}
        if "steps" in scaled:
            scaled["steps"] = max(1, round(scaled["steps"]))
        return change_settings(self.before(usual), {**scaled, **self.changes})


NO_REGULARISER = {"drift": 0.0, "interference": 0.0, "l1": 0.0, "l2": 0.0}
UNHELD = {**NO_REGULARISER, "selection": {"general_prompts": 0}}
"""Nothing that keeps what is known: any one of the terms is enough for general prompts. With no general mask and no
drift, but with the others, these stayed 0.9997 alike at eighty times the rate."""

RECIPES: tuple[Recipe, ...] = (
    Recipe("usual", "the base's own settings", free_of=ALL),
    Recipe("few steps", "a fifteenth of the steps", frozenset(("underfitting",)), REST, {"steps": 1 / 15}),
    Recipe(
        "reckless",
        "a hundred and sixty times the rate, no general mask and no regulariser",
        frozenset(("zero-shot damage",)),
        factors={"lr_weights": 160},
        reach="everywhere",
        changes=UNHELD,
    ),
    Recipe(
        "unprotected, similar",
        "forty times the rate and no regulariser, for a concept of the first one's class noun",
        frozenset(("bleeding", "forgetting")),
        factors={"lr_weights": 40},
        reach="everywhere",
        changes=NO_REGULARISER,
        similar=True,
    ),
    Recipe(
        "usual, similar",
        "the base's own settings, for a concept of the first one's class noun",
        free_of=ALL,
        similar=True,
    ),
    Recipe(
        "slow",
        "a five-hundredth of both rates",
        frozenset(("underfitting",)),
        REST,
        {"lr_weights": 1 / 500, "lr_token": 1 / 500},
    ),
    Recipe(
        "unguarded",
        "eighty times the rate, no general mask and no regulariser",
        frozenset(("zero-shot damage",)),
        factors={"lr_weights": 80},
        reach="everywhere",
        changes=UNHELD,
    ),
    Recipe(
        "unprotected",
        "eighty times the rate and no regulariser",
        frozenset(("forgetting",)),
        factors={"lr_weights": 80},
        reach="everywhere",
        changes=NO_REGULARISER,
    ),
    Recipe(
        "usual, everywhere", "the base's own settings for values that reach everywhere", free_of=ALL, reach="everywhere"
    ),
    Recipe("three pictures", "the base's own settings, from three pictures", free_of=ALL, pictures=3),
    Recipe("usual, a style", "the base's own settings, for a style of drawing", free_of=ALL, style=True),
)

STYLES = (
    TwoTones("blush", "maroon", "cream"),
    TwoTones("fern", "olive", "mint"),
    TwoTones("dune", "slate", "gold"),
    TwoTones("tide", "teal", "peach"),
)
"""One for each history."""


@dataclass(frozen=True)
class Stage:
    """A history to learn on. first, second: learned before. similar, other, style: what is learned then."""

    number: int
    first: Individual
    second: Individual
    similar: Individual
    other: Individual
    style: TwoTones

    @property
    def split(self) -> str:
        """Thresholds are set on "fit" and judged on "held out"."""
        return "fit" if self.number % 2 == 0 else "held out"


@dataclass(frozen=True)
class Case:
    stage: Stage
    recipe: Recipe

    @property
    def newcomer(self) -> Individual | TwoTones:
        if self.recipe.style:
            return self.stage.style
        return self.stage.similar if self.recipe.similar else self.stage.other


def make_stages() -> list[Stage]:
    """One for each class noun of which there are two individuals; all differ in whom they begin with."""
    by_noun: dict[str, list[Individual]] = {}
    for who in INDIVIDUALS:
        if who.name not in SAMPLES:
            by_noun.setdefault(who.noun, []).append(who)
    pairs = [group[:2] for _, group in sorted(by_noun.items()) if len(group) >= 2]
    count = len(pairs)
    return [
        Stage(place, pair[0], pairs[(place + 1) % count][0], pair[1], pairs[(place + 2) % count][1], style)
        for place, (pair, style) in enumerate(zip(pairs, cycle(STYLES), strict=False))
    ]


def plan_cases(count: int) -> list[Case]:
    """The first `count` cases, stage by stage. ValueError when there are not so many."""
    cases = list(_all_cases())
    if not 0 < count <= len(cases):
        raise ValueError(f"There are 1 to {len(cases)} cases, not {count}.")
    return cases[:count]


def _all_cases() -> Iterator[Case]:
    for stage in make_stages():
        for recipe in RECIPES:
            yield Case(stage, recipe)
