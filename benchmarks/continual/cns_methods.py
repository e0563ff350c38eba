"""Concept Neuron Selection: at the token alone, with our guards, as published, and without one of its parts."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.continual.method import Budget, Cost, Lesson, Method, OnStep, Painter, no_steps
from benchmarks.learning import learn_whole
from cns.base_model import BaseModel
from cns.compose import compose
from cns.delta import Delta
from cns.learning import Concept
from cns.own_settings import UsualSettings
from cns.selection import ConceptMasks, Selector, select_concept_neurons
from cns.settings import LearningSettings, SelectionSettings, change_settings
from cns.text import TextFeatures

FAMILY = "concept neurons"
CHOICES = {
    "ranking": ("row", "layer", "global"),
    "norm_tokens": ("own", "all"),
    "base_prompts": ("all", "first"),
    "reach": ("everywhere", "token"),
}
"""Settings that are words, as options: 0 is the first of them."""
EVERYWHERE = {"reach": 0.0}
AS_PUBLISHED = {**EVERYWHERE, "drift": 0.0, "interference": 0.0, "token_first": 0.0}
"""What takes our two guards away (docs/decisions/0010), and lets values and token begin together (0018)."""
AT_THE_TOKEN = {"reach": 1.0, "drift": 0.0, "interference": 0.0, "l1": 0.0, "l2": 0.0}
"""Values that apply at the concept's token alone have nobody to be kept from (docs/decisions/0023)."""


class CnsLearner:
    """A history of deltas on the shared base, learned by `LearningRun` as the product does."""

    def __init__(
        self,
        base: BaseModel,
        settings: LearningSettings,
        calibration: Sequence[str],
        selector: Selector,
        *,
        apart: bool = True,
    ) -> None:
        self.base, self.settings, self.calibration, self.selector = base, settings, calibration, selector
        self.apart = apart
        self.deltas: list[Delta] = []

    def learn(self, lesson: Lesson, on_step: OnStep = no_steps) -> Cost:
        started = time.monotonic()
        concept = Concept(lesson.name, lesson.class_noun, lesson.pictures, lesson.captions)
        delta = learn_whole(
            self.base,
            compose(self.base, self.deltas),
            concept,
            self.settings,
            self.calibration,
            selector=self.selector,
            on_step=on_step,
        )
        self.deltas.append(delta)
        trained = delta.size + sum(vector.numel() for vector in delta.token_vectors)
        return Cost(trained, len(delta.to_bytes()), time.monotonic() - started)

    def painter(self) -> Painter:
        return Painter(self.base, compose(self.base, self.deltas), apart=self.apart)


class RandomSelector:
    """As many entries of every layer as the method would select, but any ones."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def __call__(
        self,
        weights: Mapping[str, Tensor],
        captions: TextFeatures,
        calibration: TextFeatures | None,
        settings: SelectionSettings,
    ) -> ConceptMasks:
        found = select_concept_neurons(weights, captions, calibration, settings)
        return ConceptMasks(
            found.base, found.general, {layer: self._draw(mask) for layer, mask in found.concept.items()}
        )

    def _draw(self, mask: Tensor) -> Tensor:
        drawn = torch.zeros(mask.numel(), dtype=torch.bool)
        drawn[torch.randperm(mask.numel(), generator=self._generator)[: int(mask.sum())]] = True
        return drawn.view(mask.shape).to(mask.device)


def _as_the_method(_seed: int) -> Selector:
    return select_concept_neurons


def _choose_nothing(
    weights: Mapping[str, Tensor], captions: TextFeatures, calibration: TextFeatures | None, settings: SelectionSettings
) -> ConceptMasks:
    """No entry of any layer: the token alone is learned."""
    nothing = {layer: torch.zeros(weight.shape, dtype=torch.bool) for layer, weight in weights.items()}
    return ConceptMasks(nothing, nothing, nothing)


def settings_with(settings: LearningSettings, budget: Budget, options: Mapping[str, float]) -> LearningSettings:
    """`settings` at the budget's price, with options in their places: of the learning, or of its selection."""
    of_selection = {field.name for field in fields(SelectionSettings)}
    selection = {name: _as_set(settings.selection, name, options[name]) for name in options if name in of_selection}
    learning = {name: _as_set(settings, name, options[name]) for name in options if name not in of_selection}
    return change_settings(settings, {**asdict(budget), **learning, "selection": selection})


def _as_set(settings: LearningSettings | SelectionSettings, name: str, value: float) -> float | int | bool | str:
    """A number as the setting wants it: a word, a count, yes or no, or the number itself."""
    if name in CHOICES:
        return CHOICES[name][int(value)]
    now = getattr(settings, name, None)
    return type(now)(value) if isinstance(now, int) else value


def cns_methods(usual: UsualSettings, calibration: Sequence[str]) -> tuple[Method, ...]:
    """usual: the base's own. What it says beyond the options of a method, all of these methods have."""
    settings, near = usual.by_reach["everywhere"], usual.by_reach["token"]
    rates = {"lr_weights": settings.lr_weights, "lr_token": settings.lr_token}
    own = {**rates, "l1": settings.l1, "l2": settings.l2, "general_vote": settings.selection.general_vote}
    ours = {
        **own,
        "drift": settings.drift,
        "interference": settings.interference,
        "token_first": settings.token_first,
    }
    local = {name: getattr(near, name) for name in ("lr_weights", "lr_token", "token_first")}
    local["general_vote"] = near.selection.general_vote
    rates_tried = {
        name: tuple(rate * factor for factor in (0.125, 0.25, 0.5, 1.0, 2.0)) for name, rate in rates.items()
    }
    tried = {**rates_tried, "general_vote": (0.5, 0.7, 0.85, 1.0)}
    protecting = {"l1": (1e-3, 1e-2, 1e-1, 1.0), "l2": (0.0, 1e-3, 1e-2, 1e-1)}
    guarding = {
        "drift": (1.0, 2.0, 4.0, 8.0),
        "interference": (0.1, 0.45, 1.0, 2.0),
        "token_first": (0.0, 0.3, 0.5, 0.7),
    }
    free = {
        "lr_weights": (0.001, 0.002, 0.004, 0.01, 0.02),
        "lr_token": (0.0125, 0.025, 0.05, 0.1, 0.2),
        "token_first": (0.0, 0.2, 0.4),
        "general_vote": (0.5, 0.85, 1.0),
    }

    def method(
        name: str,
        title: str,
        options: Mapping[str, float],
        space: Mapping[str, tuple[float, ...]],
        fixed: Mapping[str, float],
        choose: Callable[[int], Selector] = _as_the_method,
        apart: bool = True,
        tuned_as: str | None = None,
    ) -> Method:
        start = partial(_start, settings, tuple(calibration), fixed, choose, apart)
        given = _given(settings, calibration, {**options, **fixed}, fixed, apart)
        return Method(name, title, FAMILY, "sequential", start, options, space, given, tuned_as)

    return (
        method("cns-local", "CNS at the token alone (ours)", local, free, AT_THE_TOKEN),
        method(
            "cns-local-plain",
            "CNS at the token alone, drawn as by all others",
            local,
            {},
            {**AT_THE_TOKEN, "wide_guided": 1.0},
            apart=False,
            tuned_as="cns-local",
        ),
        method(
            "textual-inversion-drawn",
            "Textual Inversion, drawn as by ours",
            {"lr_token": settings.lr_token},
            {},
            {**AT_THE_TOKEN, "token_first": 0.0},
            choose=lambda _: _choose_nothing,
            tuned_as="textual-inversion",
        ),
        method("cns+", "CNS with guards, the token first (ours)", ours, {**tried, **guarding}, EVERYWHERE),
        method("cns", "CNS as published", own, {**tried, **protecting}, AS_PUBLISHED),
        method(
            "cns-no-reg",
            "CNS without L_reg",
            _without(own, "l1", "l2"),
            {},
            {**AS_PUBLISHED, "l1": 0.0, "l2": 0.0},
            tuned_as="cns",
        ),
        method(
            "cns-no-general",
            "CNS, general neurons not left out",
            _without(own, "general_vote"),
            {},
            {**AS_PUBLISHED, "general_prompts": 0},
            tuned_as="cns",
        ),
        method("cns-random", "CNS with random masks", own, {}, AS_PUBLISHED, choose=RandomSelector, tuned_as="cns"),
    )


def cns_in_every_setting(settings: LearningSettings, calibration: Sequence[str]) -> Method:
    """Our CNS with everything that can be set as an option, steps and batch too: for sweeps, not for the table.

    Its budget is not everybody's, so it may not be compared with other methods.
    """
    selection = settings.selection
    space: dict[str, tuple[float, ...]] = {
        "lr_token": tuple(settings.lr_token * factor for factor in (0.25, 0.5, 1, 2)),
        "lr_weights": tuple(settings.lr_weights * factor for factor in (0.25, 1, 4)),
        "general_vote": (0.5, 0.85, 1.0),
        "drift": tuple(settings.drift * factor for factor in (0, 0.25, 1)),
        "interference": (0.0, 0.1, 1.0),
        "token_first": (0.0, 0.3, 0.6),
        "fraction": (0.1, 0.3, 0.5),
        "ranking": (0, 1, 2),
        "norm_tokens": (0, 1),
        "base_prompts": (0, 1),
        "steps": tuple(round(settings.steps * factor) for factor in (0.5, 1, 1.5)),
        "batch": tuple(max(1, round(settings.batch * factor)) for factor in (0.5, 1)),
        "l1": (0.0, 1e-3, 1e-1),
        "l2": (0.0, 1e-2),
        "time_power": (0.5, 0.7, 1.0),
        "flip": (0, 1),
        "reach": (0, 1),
    }
    if settings.reach == "token":  # where there is nothing to guard or to keep
        space = {name: values for name, values in space.items() if name not in AT_THE_TOKEN or name == "reach"}
    options: dict[str, float] = {}
    for name in space:
        now = getattr(selection, name) if hasattr(selection, name) else getattr(settings, name)
        options[name] = CHOICES[name].index(now) if name in CHOICES else float(now)
    start = partial(_start, settings, tuple(calibration), {}, _as_the_method, True)
    given = _given(settings, calibration, options, {}, True)
    return Method("cns-every-setting", "CNS, every setting (ours)", FAMILY, "sequential", start, options, space, given)


def _given(
    settings: LearningSettings,
    calibration: Sequence[str],
    decided: Mapping[str, float],
    fixed: Mapping[str, float],
    apart: bool,
) -> dict[str, Any]:
    """What these methods take from the base besides their options and the budget, so that a default of one of them that
    changes is no reason to run the others again.
    """
    own = settings.to_json()
    if not decided["reach"]:
        own.pop("wide_guided")  # it is about values at their token alone, and cells of before say nothing of it
    selection = {name: value for name, value in own.pop("selection").items() if name not in decided}
    budget = {field.name for field in fields(Budget)}
    learning = {name: value for name, value in own.items() if name not in decided and name not in budget}
    # Cells of before values could reach less than everywhere say nothing of it.
    said = {name: value for name, value in fixed.items() if (name, value) not in EVERYWHERE.items()}
    # Cells of before did not keep concepts apart in pictures.
    kept = {"apart": True} if apart and decided["reach"] else {}
    return {"learning": learning, "selection": selection, "fixed": said, "calibration": list(calibration), **kept}


def _without(options: Mapping[str, float], *names: str) -> dict[str, float]:
    return {name: value for name, value in options.items() if name not in names}


def _start(
    settings: LearningSettings,
    calibration: Sequence[str],
    fixed: Mapping[str, float],
    choose: Callable[[int], Selector],
    apart: bool,
    base: BaseModel,
    budget: Budget,
    options: Mapping[str, float],
) -> CnsLearner:
    settings = settings_with(settings, budget, {**options, **fixed})
    return CnsLearner(base, settings, calibration, choose(budget.seed), apart=apart)
