"""What the pages of forgettings show."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.forgettings.models import Forgetting
from app.generations.models import Generation, Image
from app.histories.models import History
from app.histories.versions import Step, line_to, steps_of
from app.jobs.models import OPEN, Job
from app.jobs.service import last_event_ids, queue_place

MANY = 200  # digests of a proof that a page shows; REST has all of them


@dataclass(frozen=True)
class Choice:
    """What forgetting a concept would mean. later: learned on top of it in the line in use. doomed: numbers of the
    versions that know it, in every branch. pictures: made at one of those. seconds: that the later ones took to learn.
    """

    step: Step
    parent: int
    later: Sequence[Step]
    doomed: Sequence[int]
    pictures: int
    seconds: float


@dataclass(frozen=True)
class Shown:
    """One forgetting with its job. told: the newest event that this already shows."""

    forgetting: Forgetting
    job: Job
    history: History
    place: int | None
    told: int
    lesson: str | None  # "momo, 1 of 2": what is being learned again
    removed: Sequence[tuple[str, str]]

    @property
    def is_open(self) -> bool:
        return self.job.state in OPEN

    @property
    def is_proved(self) -> bool:
        return "removed" in self.forgetting.proof

    @property
    def checked_at(self) -> datetime:
        """When it was looked for what is proved."""
        return datetime.fromisoformat(self.forgetting.proof["checked_at"])

    @property
    def title(self) -> str:
        verb = "Forgetting" if self.is_open else "Forgot" if self.forgetting.published_at else "Not forgotten:"
        return f"{verb} <{self.forgetting.name}>"


def choice_of(session: Session, history: History, name: str) -> Choice | None:
    """None when the version in use does not know a concept of that name."""
    steps = steps_of(session, history.id)
    line = line_to(steps, history.head_id)
    place = next((place for place, step in enumerate(line) if step.concept.name == name), None)
    if place is None:
        return None
    doomed = {step.version.id for step in steps if step.concept.name == name}
    for step in steps:  # parents come before their children
        if step.version.parent_id in doomed:
            doomed.add(step.version.id)
    later = line[place + 1 :]
    return Choice(
        step=line[place],
        parent=line[place - 1].version.number if place else 0,
        later=later,
        doomed=[step.version.number for step in steps if step.version.id in doomed],
        pictures=_pictures_made_at(session, doomed),
        seconds=sum(float(step.version.seconds.get("learning") or 0) for step in later),
    )


def _pictures_made_at(session: Session, version_ids: set[UUID]) -> int:
    counted = select(func.count()).select_from(Image).join(Generation, Generation.id == Image.generation_id)
    return session.scalar(counted.where(Generation.version_id.in_(version_ids))) or 0


def show(session: Session, forgetting: Forgetting) -> Shown:
    told = last_event_ids(session, [forgetting.job_id]).get(forgetting.job_id, 0)
    job = session.get_one(Job, forgetting.job_id)
    session.refresh(job)  # read again, after that
    session.refresh(forgetting)
    lesson = job.progress.get("lesson")
    return Shown(
        forgetting=forgetting,
        job=job,
        history=session.get_one(History, forgetting.history_id),
        place=queue_place(session, job),
        told=told,
        lesson=f"<{lesson['name']}>, {lesson['place']} of {lesson['of']}" if lesson else None,
        removed=[(one["sha256"], one["what"]) for one in forgetting.proof.get("removed", [])][:MANY],
    )
