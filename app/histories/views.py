"""What the timeline shows: the tree, one version in plain words, two versions side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, exists, or_, select
from sqlalchemy.orm import Session, aliased

from app.concepts.models import Concept
from app.generations.models import Generation, Image
from app.generations.reading import PICTURE, Picture
from app.generations.regions import prompts_of
from app.generations.studio import first_pictures
from app.histories.graph import Graph, draw_graph
from app.histories.models import BaseModelRow, History, Version
from app.histories.versions import Step, line_to, steps_of
from app.jobs.models import OPEN, Job, JobKind, JobSample

SIGNATURES = (
    ("underfitting", "Was it learned?"),
    ("zero-shot damage", "Is everything else as before?"),
    ("bleeding", "Does it stay by itself?"),
    ("forgetting", "Are the earlier ones still there?"),
)
NOT_LOOKED_AT = {
    "bleeding": "There is no earlier concept that it could have run into.",
    "forgetting": "There is no earlier concept that could have been forgotten.",
}
MOST_OF_A_CONCEPT = 4


@dataclass(frozen=True)
class Light:
    """One of the four signatures. level: ok, warn, bad, or none when it was not looked at."""

    title: str
    level: str
    findings: Sequence[Mapping[str, Any]]
    otherwise: str


@dataclass(frozen=True)
class Entry:
    """One version in the tree; `step` is None for the bare base."""

    number: int
    step: Step | None
    sample: tuple[UUID, int] | None  # job and step of its last sample picture
    picture_id: UUID | None  # the first picture it was taught from
    is_head: bool


@dataclass(frozen=True)
class Timeline:
    history: History
    facts: Mapping[str, Any]
    graph: Graph
    entries: Mapping[int, Entry]
    head: int
    learning: Sequence[tuple[Job, Concept]]


@dataclass(frozen=True)
class Shown:
    """One version with what can be said and done about it."""

    entry: Entry
    parent: int
    line: Sequence[Step]  # what it knows, in order
    pictures: Mapping[UUID, UUID]  # concept -> a picture it was taught from
    lights: Sequence[Light]
    samples: Sequence[tuple[UUID, int]]
    drawn: Mapping[str, Sequence[Picture]]  # concept -> pictures made of it at this version
    job: Job | None
    gained: Sequence[str]  # what prompts would know that they do not know now
    lost: Sequence[str]  # what they would not know any more
    later: Sequence[int]  # versions that would no longer be below head
    is_used: bool  # head is on it, or on a version above it


def timeline_of(session: Session, history: History) -> Timeline:
    steps = steps_of(session, history.id)
    numbers = {step.version.id: step.version.number for step in steps}
    parents = {step.version.number: numbers.get(step.version.parent_id, 0) for step in steps}  # type: ignore[arg-type]
    head = numbers[history.head_id] if history.head_id else 0
    samples = _last_samples(session, [step.version.job_id for step in steps if step.version.job_id])
    pictures = first_pictures(session, [step.concept.id for step in steps])
    entries = {0: Entry(0, None, None, None, head == 0)}
    for step in steps:
        version = step.version
        sample = samples.get(version.job_id) if version.job_id else None
        entries[version.number] = Entry(
            version.number,
            step,
            (version.job_id, sample) if version.job_id and sample is not None else None,
            pictures.get(step.concept.id),
            version.number == head,
        )
    return Timeline(
        history=history,
        facts=session.get_one(BaseModelRow, history.base_id).facts,
        graph=draw_graph(parents, head),
        entries=entries,
        head=head,
        learning=_open_learnings(session, history.id),
    )


def _last_samples(session: Session, job_ids: Sequence[UUID]) -> dict[UUID, int]:
    if not job_ids:
        return {}
    rows = session.execute(
        select(JobSample.job_id, JobSample.step).where(JobSample.job_id.in_(job_ids)).order_by(JobSample.step)
    )
    return dict(rows.all())


_OPEN_LEARNINGS = (
    select(Job, Concept)
    .join(Concept, Concept.id == Job.concept_id)
    .where(
        Job.history_id == bindparam("history_id"),
        Job.kind == JobKind.LEARN.value,
        Job.state.in_([state.value for state in OPEN]),
    )
    .order_by(Job.sequence)
)


def _open_learnings(session: Session, history_id: UUID) -> list[tuple[Job, Concept]]:
    return list(session.execute(_OPEN_LEARNINGS, {"history_id": history_id}).all())


def show_version(session: Session, timeline: Timeline, number: int) -> Shown:
    entries, entry = timeline.entries, timeline.entries[number]
    steps = [one.step for one in entries.values() if one.step]
    version_id = entry.step.version.id if entry.step else None
    line = line_to(steps, version_id)
    now = line_to(steps, timeline.history.head_id)
    names, names_now = [one.concept.name for one in line], [one.concept.name for one in now]
    job = session.get(Job, entry.step.version.job_id) if entry.step and entry.step.version.job_id else None
    below = {one.version.number for one in line}
    return Shown(
        entry=entry,
        parent=line[-2].version.number if len(line) > 1 else 0,
        line=line,
        pictures={one.concept.id: picture for one in line if (picture := entries[one.version.number].picture_id)},
        lights=lights_of(entry.step.version.diagnosis) if entry.step else [],
        samples=_samples_of(session, job),
        drawn=_drawn(session, timeline.history.id, version_id, names),
        job=job,
        gained=[name for name in names if name not in names_now],
        lost=[name for name in names_now if name not in names],
        later=[one.version.number for one in now if one.version.number not in below],
        is_used=not version_id or version_id in {one.version.id for one in now},
    )


def _samples_of(session: Session, job: Job | None) -> list[tuple[UUID, int]]:
    if job is None:
        return []
    steps = session.scalars(select(JobSample.step).where(JobSample.job_id == job.id).order_by(JobSample.step))
    return [(job.id, step) for step in steps]


def lights_of(diagnosis: Sequence[Mapping[str, Any]]) -> list[Light]:
    """The four signatures, each with the worst that was found. Nothing was examined where there is no finding."""
    if not diagnosis:
        return []
    order = ("ok", "warn", "bad")
    lights = []
    for signature, title in SIGNATURES:
        found = [one for one in diagnosis if one.get("signature") == signature]
        levels = [str(one.get("severity", one.get("level", "ok"))) for one in found]
        level = max(levels, key=lambda one: order.index(one) if one in order else 0, default="none")
        lights.append(Light(title, level, found, NOT_LOOKED_AT.get(signature, "This was not examined.")))
    return lights


def _drawn(
    session: Session, history_id: UUID, version_id: UUID | None, names: Sequence[str]
) -> dict[str, Sequence[Picture]]:
    """The latest pictures of each concept made at a version."""
    if not names:
        return {}
    made = select(*PICTURE, Generation.prompt, Generation.regions).join(
        Generation, Generation.id == Image.generation_id
    )
    rows = session.execute(
        made.where(Generation.history_id == history_id, Generation.version_id.is_not_distinct_from(version_id))
        .order_by(Image.created_at.desc(), Image.position)
        .limit(200)
    )
    found: dict[str, list[Picture]] = {name: [] for name in names}
    for *columns, prompt, regions in rows:
        said = " ".join([prompt, *prompts_of(regions)])
        for name in names:
            if f"<{name}>" in said and len(found[name]) < MOST_OF_A_CONCEPT:
                found[name].append(Picture(*columns))
    return {name: images for name, images in found.items() if images}


def pairs_of(session: Session, history: History, left: Version | None, right: Version | None) -> list[Any]:
    """Pictures with the same prompt, seed and settings under two versions: (prompt, left, right), the latest first."""
    mine, theirs = aliased(Generation), aliased(Generation)
    first, second = aliased(Image), aliased(Image)
    same = [
        getattr(mine, name) == getattr(theirs, name)
        for name in ("prompt", "negative_prompt", "steps", "guidance", "sampler", "width_px", "height_px", "regions")
    ]
    rows = session.execute(
        select(mine.prompt, first, second)
        .join(first, first.generation_id == mine.id)
        .join(theirs, (theirs.history_id == mine.history_id))
        .join(second, (second.generation_id == theirs.id) & (second.seed == first.seed))
        .where(
            mine.history_id == history.id,
            mine.version_id.is_not_distinct_from(left.id if left else None),
            theirs.version_id.is_not_distinct_from(right.id if right else None),
            *same,
        )
        .order_by(first.created_at.desc(), first.position)
        .limit(60)
    )
    found: dict[tuple[str, int], Any] = {}
    for prompt, one, other in rows:
        found.setdefault((prompt, one.seed), (prompt, one, other))
    return list(found.values())[:12]


def open_generations(
    session: Session, history: History, left: Version | None, right: Version | None
) -> list[tuple[Generation, Job]]:
    """What is still to be drawn of requests that were made at both versions alike, the latest first."""
    mine, theirs = aliased(Generation), aliased(Generation)
    sides = [version.id if version else None for version in (left, right)]
    rows = session.execute(
        select(mine, Job)
        .join(Job, Job.id == mine.job_id)
        .where(
            mine.history_id == history.id,
            Job.state.in_([state.value for state in OPEN]),
            or_(*(mine.version_id.is_not_distinct_from(side) for side in sides)),
            exists().where(
                theirs.history_id == mine.history_id,
                theirs.prompt == mine.prompt,
                theirs.seed == mine.seed,
                theirs.version_id.is_distinct_from(mine.version_id),
                or_(*(theirs.version_id.is_not_distinct_from(side) for side in sides)),
            ),
        )
        .order_by(Job.sequence.desc())
    )
    return list(rows.all())
