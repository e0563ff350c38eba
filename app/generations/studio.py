"""What the studio shows: what can be set, what a version knows, and what was asked for lately."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from app.concepts.models import ConceptPicture
from app.generations.models import Generation
from app.generations.reading import Picture, images_of, list_generations
from app.generations.regions import MOST_REGIONS, fields_of
from app.histories.models import BaseModelRow, History
from app.histories.versions import Step, line_to, steps_in
from app.jobs.estimates import estimates_of
from app.jobs.models import OPEN, Job, JobState
from app.jobs.service import last_event_ids, queue_places, standing_of
from app.wording import prompt_about
from app.words import relative

SHOWN_AT_ONCE = 12


@dataclass(frozen=True)
class Known:
    """A concept as pages show it. picture_id: the first it was taught from; None when there is none any more."""

    name: str
    class_noun: str
    picture_id: UUID | None


@dataclass(frozen=True)
class Choice:
    """A version that pictures can be asked of. number: 0 for the bare base."""

    number: int
    label: str
    is_head: bool
    knows: tuple[str, ...]


@dataclass(frozen=True)
class Asked:
    """One request for pictures, with what came of it so far."""

    generation: Generation
    job: Job
    version: int
    place: int | None  # in the queue
    left: float | None = None  # seconds until one that waits is done
    images: Sequence[Picture] = ()
    told: int = 0  # the newest event of an open one that this already shows

    def shows(self, desk: "Desk", site: str, csrf_token: str) -> Hashable:
        """All that its card depends on. What was asked for never changes, nor does a picture."""
        made, images = self.generation, tuple(image.id for image in self.images)
        asked = (made.id, self.version, relative(made.created_at), images, desk.facts.get("pixelated"), site)
        if self.job.state == JobState.DONE:
            return asked
        return asked, standing_of(self.job), self.place, self.left, self.told, csrf_token


@dataclass(frozen=True)
class Desk:
    """Everything around the form. known: what any version of the history knows, each once, in order of learning."""

    history: History
    facts: Mapping[str, Any]
    head: int
    choices: Sequence[Choice]
    known: Sequence[Known]
    values: Mapping[str, Any] = field(default_factory=dict)
    most_regions: int = MOST_REGIONS

    @property
    def example(self) -> str:
        """A prompt for who does not know what to write, of the newest concept where there is one."""
        newest = self.known[-1] if self.known else None
        about = prompt_about(newest.name, newest.class_noun, self.facts) if newest else "a photo of a red mug"
        return f"{about} on the grass"


def desk_of(session: Session, history: History, values: Mapping[str, Any] | None = None) -> Desk:
    steps = steps_in(session, [history.id])[history.id]
    choices = [_choice(steps, step, history) for step in reversed(steps)]
    choices.append(Choice(0, "the bare base", history.head_id is None, ()))
    facts = session.get_one(BaseModelRow, history.base_id).facts
    return Desk(
        history=history,
        facts=facts,
        head=next(choice.number for choice in choices if choice.is_head),
        choices=choices,
        known=known_of(steps, first_pictures(session, [step.concept.id for step in steps])),
        values=values or {},
    )


def _choice(steps: Sequence[Step], step: Step, history: History) -> Choice:
    knows = tuple(one.concept.name for one in line_to(steps, step.version.id))
    label = step.version.label or f"learned <{step.concept.name}>"
    return Choice(step.version.number, label, step.version.id == history.head_id, knows)


def known_of(steps: Sequence[Step], firsts: Mapping[UUID, UUID]) -> list[Known]:
    """Each name once: two branches may both have learned a `rex`, and then the later one's picture is shown.

    firsts: concept -> the first picture it was taught from.
    """
    found = {
        step.concept.name: Known(step.concept.name, step.concept.class_noun, firsts.get(step.concept.id))
        for step in steps
    }
    return list(found.values())


_FIRST = (
    select(ConceptPicture.concept_id, ConceptPicture.id)
    .where(ConceptPicture.concept_id.in_(bindparam("ids", expanding=True)))
    .order_by(ConceptPicture.position.desc())
)


def first_pictures(session: Session, concept_ids: Sequence[UUID]) -> dict[UUID, UUID]:
    """Concept -> the first picture it was taught from."""
    if not concept_ids:
        return {}
    return dict(session.execute(_FIRST, {"ids": concept_ids}).all())


def look_at(session: Session, row: tuple[Generation, Job, int]) -> Asked:
    return _with_images(session, [row])[0]


def lately_asked(
    session: Session, history: History, before: int | None = None, limit: int = SHOWN_AT_ONCE
) -> tuple[list[Asked], int | None]:
    """The latest requests, and from which on there are more; None when there are none."""
    rows = list_generations(session, history.id, limit + 1, before)
    more = rows[limit - 1][1].sequence if len(rows) > limit else None
    return _with_images(session, rows[:limit]), more


_JOBS = select(Job).where(Job.id.in_(bindparam("ids", expanding=True)))


def _with_images(session: Session, rows: Sequence[tuple[Generation, Job, int]]) -> list[Asked]:
    jobs = [job for _, job, _ in rows]
    told: dict[UUID, int] = {}
    if still_open := [job.id for job in jobs if job.state in OPEN]:
        told = last_event_ids(session, still_open)
        # Once more, after their newest events were asked for: an end between the two would never be told.
        session.scalars(_JOBS, {"ids": still_open}, execution_options={"populate_existing": True}).all()
    places, left = queue_places(session, jobs), estimates_of(session, jobs)
    images: dict[UUID, list[Picture]] = {}
    for image in images_of(session, [generation.id for generation, _, _ in rows]):
        images.setdefault(image.generation_id, []).append(image)
    return [
        Asked(
            generation,
            job,
            number,
            places.get(job.id),
            left.get(job.id),
            images.get(generation.id, []),
            told.get(job.id, 0),
        )
        for generation, job, number in rows
    ]


def values_of(asked: Generation, *, version: int | None = None, seed: int | None = None) -> dict[str, Any]:
    """A request's settings as the form's values. version, seed: others than its own."""
    return {
        "prompt": asked.prompt,
        "negative_prompt": asked.negative_prompt,
        "seed": asked.seed if seed is None else seed,
        "count": 1 if seed is not None else asked.count,
        "steps": asked.steps,
        "guidance": asked.guidance,
        "sampler": asked.sampler,
        "width_px": asked.width_px,
        "height_px": asked.height_px,
        **fields_of(asked.regions),
        "apart": "yes" if asked.apart else "no",
        "version": version,
    }
