"""Experiment 7: concepts that overlap with general abilities: a certain night, a certain snow, a way of drawing."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.experiments.measuring import General, Workshop
from benchmarks.experiments.record import Report, percent
from benchmarks.experiments.subjects import ABILITIES, Subject, ability, individual
from benchmarks.experiments.variants import AT_TOKEN, OURS, UNGUARDED
from benchmarks.markdown import make_table
from benchmarks.svg import Bar, bar_chart
from cns.diagnosis import DEFAULT, Finding, find_underfitting, find_zero_shot_damage
from storybook.pools import stack_pictures, to_pixels

CONTROL = "tiger"
NOTICEABLE_SHARE = 0.05
VARIANTS = {
    "our guards": OURS,
    "no guard": UNGUARDED,
    "values at the token, guided all the way": {**AT_TOKEN, "wide_guided": 1.0},
    "values at the token alone": AT_TOKEN,
}


def measure(workshop: Workshop) -> dict[str, Any]:
    """Each ability and one ordinary concept, with the base's guards, without any, and where nothing needs guarding:
    there once with pictures that are guided in all noise levels, once as the base has it (docs/decisions/0025).
    """
    subjects = [*map(ability, ABILITIES), individual(CONTROL)]
    return {
        "control": subjects[-1].called,
        "learnings": {
            f"{subject.called}, {name}": {
                "subject": subject.called,
                "variant": name,
                **measure_one(workshop, subject, changes),
            }
            for name, changes in VARIANTS.items()
            for subject in subjects
        },
    }


def measure_one(workshop: Workshop, subject: Subject, changes: Mapping[str, Any]) -> dict[str, Any]:
    """What became of the concept, of prompts with its class noun, of general prompts; and what the diagnosis says.

    Judged by CLIP, as the encoder of individuals does not look at light and style.
    """
    delta = workshop.learn(subject, workshop.settings_with(changes))
    version = workshop.version(delta)
    own = workshop.look_at(subject, version, by=workshop.clip)
    word, general = workshop.look_at_general(version, subject.plain), workshop.look_at_general(version)
    masks = delta.report["density"]
    findings = {
        "concept": find_underfitting(subject.name, subject.noun, own.way, own.width),
        "general prompts": _damage(general),
        "prompts with the noun": _damage(word),
    }
    return {
        "way": own.way,
        "scale_width": own.width,
        "tone_way": tone_way(
            workshop.about(subject, workshop.version(), subject.noun),
            workshop.about(subject, version, subject.called),
            to_pixels(stack_pictures([np.asarray(picture) for picture in subject.references])) / 2 + 0.5,
        ),
        "general_share_of_base": 1 - masks["concept"] / masks["base"],
        "density": masks["concept"],
        "pull": delta.report.get("pull"),
        "word_similarity": word.similarity,
        "word_lost": word.lost,
        "general_similarity": general.similarity,
        "general_lost": general.lost,
        "findings": {what: finding.to_json() for what, finding in findings.items()},
    }


def _damage(general: General) -> Finding:
    return find_zero_shot_damage(general.similarity, general.clip_t, general.base_clip_t)


def tone_way(nouns: Tensor, pictures: Tensor, references: Tensor) -> float:
    """Share of the way from the mean colour of the noun's pictures to the references'; each (n, 3, height, width).

    Light and paper are in the mean colour, whatever is to be seen; below 0 it went elsewhere.
    """
    start, now, end = (batch.mean(dim=(0, 2, 3)) for batch in (nouns, pictures, references))
    return float(1 - (now - end).norm() / (start - end).norm().clamp(min=1e-3))


# --- in words -------------------------------------------------------------------------------------------------------


def report(figures: Mapping[str, Any]) -> Report:
    """Where abilities fail as concepts, and whether the diagnosis says so."""
    learnings, control = figures["learnings"], figures["control"]
    sentences = [
        _about_masks(learnings, control),
        *(_about_variant(name, learnings, control) for name in VARIANTS),
        _about_diagnosis(learnings, control),
    ]
    heads = (
        *("", "way (CLIP)", "width of that scale", "way in tone", "M_base that is general"),
        *("pictures of its noun", "general pictures", "pull"),
        "the diagnosis",
    )
    keys = ("way", "scale_width", "tone_way", "general_share_of_base", "word_similarity", "general_similarity")
    rows = [(name, *(one[key] for key in keys), one["pull"] or "-", _verdict(one)) for name, one in learnings.items()]
    picture = bar_chart(
        [
            Bar(f"{name}: {what}", one[key], colour=colour)
            for name, one in learnings.items()
            for colour, (key, what) in enumerate(
                (("tone_way", "tone"), ("word_similarity", "its noun"), ("general_similarity", "general"))
            )
        ],
        title="Abilities as concepts: their tone, prompts with their noun, general prompts",
        x_label="way in tone to the concept's pictures; similarity of the others to the base's",
    )
    return Report("Overlap with general abilities", tuple(sentences), make_table(heads, rows), picture)


def _about_masks(learnings: Mapping[str, Any], control: str) -> str:
    of_variant = [one for one in learnings.values() if one["variant"] == "our guards"]
    own = next(one["general_share_of_base"] for one in of_variant if one["subject"] == control)
    others = {one["subject"]: one["general_share_of_base"] for one in of_variant if one["subject"] != control}
    listed = ", ".join(f"{percent(share)} for {name}" for name, share in others.items())
    more = all(share >= own + NOTICEABLE_SHARE for share in others.values())
    return (
        f"Of the entries that its captions select, {listed} are general and left alone, {percent(own)} for {control}: "
        + ("abilities overlap more with what is general." if more else "the masks hardly tell an ability from a thing.")
    )


def _about_variant(name: str, learnings: Mapping[str, Any], control: str) -> str:
    some = [one for one in learnings.values() if one["variant"] == name]
    told = ", ".join(
        f"{one['subject']} {percent(one['tone_way'])} of the way in tone, its noun's pictures "
        f"{one['word_similarity']:.2f} alike to the base's"
        for one in some
        if one["subject"] != control
    )
    own = next(one for one in some if one["subject"] == control)
    return f"Learned with {name}: {told} ({control}: {own['word_similarity']:.2f})."


def _about_diagnosis(learnings: Mapping[str, Any], control: str) -> str:
    """Which of them the diagnosis finds by general prompts, and which by prompts with the noun alone."""
    severities = {
        name: {what: finding["severity"] for what, finding in one["findings"].items()}
        for name, one in learnings.items()
        if one["subject"] != control
    }
    by_general = [name for name, found in severities.items() if found["general prompts"] != "ok"]
    by_noun = [name for name, found in severities.items() if found["prompts with the noun"] != "ok"]
    only_noun = [name for name in by_noun if name not in by_general]
    unseen = [name for name in severities if learnings[name]["scale_width"] < DEFAULT.least_width]
    weak = [name for name, found in severities.items() if found["concept"] != "ok" and name not in unseen]
    return (
        f"The diagnosis, as it asks after each learning, finds damage in {_listed(by_general)} and underfitting in "
        f"{_listed(weak)}, and says that its judge cannot see {_listed(unseen)}; damage that shows only when the "
        f"concept's own noun is asked for is in {_listed(only_noun)}"
        + (", which general prompts that do not use the word cannot find." if only_noun else ".")
    )


def _listed(names: list[str]) -> str:
    return ", ".join(f"“{name}”" for name in names) or "nothing"


def _verdict(one: Mapping[str, Any]) -> str:
    found = [
        f"{finding['severity']}: {what}" for what, finding in one["findings"].items() if finding["severity"] != "ok"
    ]
    return ", ".join(found) or "ok"
