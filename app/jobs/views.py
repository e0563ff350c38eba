"""What pages show of jobs: a list with what each is about, and one learning stage by stage."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, false, func, select
from sqlalchemy.orm import Session

from app.concepts.models import Concept, ConceptPicture
from app.forgettings.models import Forgetting, Mode
from app.generations.models import Generation
from app.histories.models import BaseModelRow, History, Version
from app.histories.versions import lineage
from app.jobs.estimates import estimates_of
from app.jobs.models import Job, JobSample, JobState
from app.jobs.service import captions_of, last_event_ids, queue_place, queue_places, samples_of, standing_of
from app.wording import prompt_about
from app.words import relative

STAGES = (
    ("checking", "Checking the pictures"),
    ("captions", "Writing captions"),
    ("selection", "Selecting neurons"),
    ("learning", "Learning"),
    ("diagnosis", "Examining what was learned"),
    ("publishing", "Publishing the version"),
)
QUARTERS = 4  # a sample before, and one after each quarter of the steps
CURVE_PX = (600, 160)
MOST_POINTS = 600


@dataclass(frozen=True)
class Stage:
    """name: as the worker calls it. state: done, now, or coming."""

    name: str
    label: str
    state: str
    seconds: float | None


@dataclass(frozen=True)
class Learning:
    """One learning with all its page shows. captions: as they were used, once they are known. prompt: the plainest one
    that shows the concept, by which its samples are made.
    """

    job: Job
    history: History
    concept: Concept
    pictures: Sequence[ConceptPicture]
    stages: Sequence[Stage]
    steps: int
    samples: Sequence[JobSample]
    marks: Sequence[int]
    losses: Sequence[Sequence[float]]
    version: Version | None
    place: int | None
    pixelated: bool
    prompt: str
    left: float | None = None  # seconds until one that waits is done
    captions: Sequence[str] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    told: int = 0  # the newest event that this already shows
    head: int = 0  # number of the version in use
    is_held_back: bool = False  # its version did damage, and what is in use does not stand on it

    @property
    def is_open(self) -> bool:
        return self.job.state in (JobState.QUEUED, JobState.RUNNING)

    @property
    def verb(self) -> str:
        """What became of it, before the concept's name."""
        if self.version is not None:
            return "Learned"
        return "Learning" if self.is_open else "Not learned:"

    @property
    def title(self) -> str:
        return f"{self.verb} <{self.concept.name}>"

    @property
    def coming(self) -> list[int]:
        """Steps whose samples are still to be made."""
        made = {sample.step for sample in self.samples}
        return [mark for mark in self.marks if mark not in made] if self.is_open else []

    @property
    def curve(self) -> str:
        """The losses as the points of a polyline, for browsers without scripts."""
        return points_of(self.losses)


@dataclass(frozen=True)
class Listed:
    """A job as the list shows it. about: the concept's token or the prompt; None where it is not the viewer's.
    is_erasing: whether it can be cancelled no more, as its new line of versions is published. is_exact: whether it is a
    forgetting that learns other concepts again.
    """

    job: Job
    about: str | None
    history: str | None
    place: int | None
    left: float | None
    owner: str
    generation_id: UUID | None
    is_erasing: bool = False
    is_exact: bool = False

    def shows(self, everybody: bool, csrf_token: str) -> Hashable:
        """All that its row depends on."""
        job = self.job
        about = (self.about, self.history, self.owner if everybody else None, self.generation_id)
        shown = (job.id, about, relative(job.created_at), job.started_at, job.finished_at)
        if job.state == JobState.DONE:
            return shown
        return shown, standing_of(job), self.is_erasing, self.place, self.left, csrf_token


def learning_of(session: Session, job: Job) -> Learning:
    told = last_event_ids(session, [job.id]).get(job.id, 0)
    session.refresh(job)  # read again, after that
    history = session.get_one(History, job.history_id)
    concept = session.get_one(Concept, job.concept_id)
    facts = session.get_one(BaseModelRow, history.base_id).facts
    version = session.scalar(select(Version).where(Version.job_id == job.id))
    pictures = session.scalars(
        select(ConceptPicture).where(ConceptPicture.concept_id == concept.id).order_by(ConceptPicture.position)
    ).all()
    steps = int(job.settings.get("steps") or facts.get("learning", {}).get("steps") or 0)
    used = [step.version for step in lineage(session, history, history.head_id)]
    return Learning(
        job=job,
        history=history,
        concept=concept,
        pictures=pictures,
        stages=stages_of(job, version),
        steps=steps,
        samples=samples_of(session, job.id),
        marks=sorted({steps * quarter // QUARTERS for quarter in range(QUARTERS + 1)}),
        losses=losses_of(job, version),
        version=version,
        place=queue_place(session, job),
        pixelated=bool(facts.get("pixelated")),
        prompt=prompt_about(concept.name, concept.class_noun, facts),
        left=estimates_of(session, [job]).get(job.id),
        captions=list(version.report.get("captions", [])) if version else captions_of(session, job.id),
        settings=job.settings,
        told=told,
        head=used[-1].number if used else 0,
        is_held_back=version is not None and bool(version.held_back) and version not in used,
    )


def stages_of(job: Job, version: Version | None) -> list[Stage]:
    """Which are over, which is now, which are coming. Of a job that ended too soon, the last one is where it ended."""
    names = [name for name, _ in STAGES]
    at = names.index(job.stage) if job.stage in names else -1
    if job.state == JobState.DONE:
        at = len(names)
    elif job.state == JobState.QUEUED:
        at = -1
    seconds = version.seconds if version else job.progress.get("seconds", {})
    return [
        Stage(name, label, "done" if place < at else "now" if place == at else "coming", seconds.get(name))
        for place, (name, label) in enumerate(STAGES)
    ]


def losses_of(job: Job, version: Version | None) -> list[list[float]]:
    """[step, loss] so far: what the worker reported, or all of it from the version, thinned."""
    if version is None:
        return [list(point) for point in job.progress.get("losses", [])]
    whole = version.report.get("loss") or []
    apart = max(1, -(-len(whole) // MOST_POINTS))
    return [[step + 1, loss] for step, loss in enumerate(whole) if step % apart == 0]


def points_of(losses: Sequence[Sequence[float]]) -> str:
    if len(losses) < 2:
        return ""
    width, height = CURVE_PX
    first, last = losses[0][0], losses[-1][0]
    lowest, highest = min(loss for _, loss in losses), max(loss for _, loss in losses)
    across, up = (last - first) or 1, (highest - lowest) or 1
    return " ".join(
        f"{(step - first) / across * width:.1f},{height - (loss - lowest) / up * height:.1f}" for step, loss in losses
    )


_ABOUT = (
    select(
        Job.id,
        History.name,
        func.coalesce(Concept.name, Forgetting.name),
        Generation.prompt,
        Generation.id,
        Forgetting.published_at.is_not(None),
        func.coalesce(Forgetting.mode == Mode.EXACT.value, false()),
    )
    .join(History, History.id == Job.history_id)
    .outerjoin(Concept, Concept.id == Job.concept_id)
    .outerjoin(Forgetting, Forgetting.job_id == Job.id)
    .outerjoin(Generation, Generation.job_id == Job.id)
    .where(Job.id.in_(bindparam("ids", expanding=True)))
)


def list_view(session: Session, jobs: Sequence[Job], viewer_id: UUID, owners: Mapping[UUID, str]) -> list[Listed]:
    """Others' jobs are shown without what they are about: an administrator sees the load, not the pictures."""
    mine = [job.id for job in jobs if job.owner_id == viewer_id]
    known = {row[0]: row for row in session.execute(_ABOUT, {"ids": mine}).all()} if mine else {}
    places, left = queue_places(session, jobs), estimates_of(session, jobs)
    listed = []
    for job in jobs:
        _, history, name, prompt, generation_id, *states = known.get(job.id, (None, None, None, None, None))
        about = f"<{name}>" if name else prompt
        owner = owners.get(job.owner_id, "")
        stands = places.get(job.id), left.get(job.id)
        listed.append(Listed(job, about, history, *stands, owner, generation_id, *states))
    return listed
