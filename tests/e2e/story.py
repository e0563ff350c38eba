"""A story already told, written straight into the database: versions on two branches, pictures, jobs in every state.

The pictures are drawn by the storybook's own brush, so that pages can be judged by eye without a model.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from uuid import UUID

import numpy as np
from PIL import Image as Pillow
from sqlalchemy.orm import Session

from app import blobs
from app.accounts.models import User
from app.concepts.models import Concept, ConceptPicture
from app.generations.models import Generation, Image
from app.histories.models import HeadMove, Version
from app.jobs.models import Job, JobEvent, JobKind, JobSample, JobState, WorkerRow
from app.storage import BlobStore
from storybook.individuals import Individual, find_individual, portraits, scene_of
from storybook.world import draw
from tests.app import make
from tests.e2e.site import Visitor

STEPS = 200
NOW = datetime.now(UTC)


@dataclass(frozen=True)
class Story:
    """What was written, by name."""

    history_id: UUID
    running_id: UUID
    failed_id: UUID
    learned_id: UUID


class Writer:
    """Writes rows the way the service and the worker do, for one history."""

    def __init__(self, session: Session, store: BlobStore, owner: User, name: str = "Our things"):
        self.session, self.store, self.owner = session, store, owner
        self.history = make.history(session, owner, name)
        self.rng = np.random.default_rng(7)

    def blob(self, data: bytes, kind: str = "image/png") -> str:
        return blobs.keep(self.session, self.store, data, kind)

    def concept(self, who: Individual, minutes_ago: float) -> Concept:
        concept = Concept(history_id=self.history.id, name=who.name, class_noun=who.noun)
        self.session.add(concept)
        self.session.flush()
        for position, scene in enumerate(portraits(who, 5, seed=300)):
            self.session.add(
                ConceptPicture(
                    concept_id=concept.id,
                    position=position,
                    blob_sha256=self.blob(png(draw(scene))),
                    file_name=f"{who.name}-{position + 1}.png",
                    width_px=64,
                    height_px=64,
                    caption=f"a photo of a {who.noun} {scene.background}" if position < 2 else None,
                )
            )
        return concept

    def job(self, kind: JobKind, state: JobState, minutes_ago: float, **facts: object) -> Job:
        begun = NOW - timedelta(minutes=minutes_ago)
        ended = state in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)
        job = Job(
            owner_id=self.owner.id,
            history_id=self.history.id,
            kind=kind.value,
            state=state.value,
            created_at=begun,
            started_at=begun + timedelta(seconds=2) if state is not JobState.QUEUED else None,
            finished_at=begun + timedelta(seconds=134) if ended else None,
            lease_until=NOW + timedelta(hours=5) if state is JobState.RUNNING else None,
            **facts,
        )
        self.session.add(job)
        self.session.flush()
        self.session.add(JobEvent(job_id=job.id, kind="state", data={"state": state.value}))
        return job

    def learned(self, name: str, number: int, parent: Version | None, minutes_ago: float, level: str = "ok") -> Version:
        who = find_individual(name)
        concept = self.concept(who, minutes_ago)
        job = self.job(JobKind.LEARN, JobState.DONE, minutes_ago, concept_id=concept.id, stage="publishing")
        self.samples(job, who, 5)
        digest = self.blob(
            hashlib.sha256(f"{self.history.id}{number}".encode()).digest() * 40_000, "application/x-delta"
        )
        version = Version(
            history_id=self.history.id,
            parent_id=parent.id if parent else None,
            concept_id=concept.id,
            job_id=job.id,
            number=number,
            delta_sha256=digest,
            delta_bytes=1_284_512,
            report={
                "density": {"base": 0.31, "general": 0.22, "concept": 0.083},
                "overlap": 0.0 if parent is None else 0.041,
                "values": 129_833,
                "final_loss": 0.0713,
                "captions": [f"a photo of <{name}> {who.noun} on the {place}" for place in ("grass", "beach", "snow")]
                + [f"a photo of <{name}> {who.noun} at night", f"<{name}> {who.noun} in front of bricks"],
                "loss": losses(STEPS, number),
            },
            seconds={"captions": 0.4, "selection": 3.1, "learning": 92.4, "diagnosis": 37.9},
            diagnosis=findings(name, who.noun, level, parent is not None),
            examination={},
            created_at=NOW - timedelta(minutes=minutes_ago - 2),
        )
        version.held_back = [one for one in version.diagnosis if one["severity"] == "bad"]
        self.session.add(version)
        self.session.flush()
        if not version.held_back:
            self.move(parent, version, f"learned {name}", minutes_ago - 2)
        return version

    def samples(self, job: Job, who: Individual, count: int) -> None:
        """From noise to the concept, as a learning shows it."""
        portrait = draw(scene_of(who, np.random.default_rng(1), "on the grass")).astype(float)
        other = draw(
            scene_of(find_individual("bolt" if who.name != "bolt" else "momo"), self.rng, "on the grass")
        ).astype(float)
        for place in range(count):
            share = place / 4
            noise = np.random.default_rng(3).normal(0, 60 * (1 - share), portrait.shape)
            mixed = np.clip(other * (1 - share) + portrait * share + noise, 0, 255).astype(np.uint8)
            self.session.add(JobSample(job_id=job.id, step=STEPS * place // 4, blob_sha256=self.blob(png(mixed))))

    def move(self, before: Version | None, after: Version | None, why: str, minutes_ago: float) -> None:
        move = HeadMove(
            history_id=self.history.id,
            user_id=self.owner.id,
            from_id=before.id if before else None,
            to_id=after.id if after else None,
            why=why,
            at=NOW - timedelta(minutes=minutes_ago),
        )
        self.session.add(move)
        self.history.head_id = after.id if after else None
        self.session.flush()

    def asked(
        self,
        prompt: str,
        version: Version | None,
        state: JobState,
        minutes_ago: float,
        who: Sequence[str] = (),
        *,
        count: int = 4,
        seed: int = 41,
        **facts: object,
    ) -> Generation:
        job = self.job(JobKind.GENERATE, state, minutes_ago, **facts)
        generation = Generation(
            history_id=self.history.id,
            job_id=job.id,
            version_id=version.id if version else None,
            prompt=prompt,
            seed=seed,
            count=count,
            steps=20,
            guidance=4.0,
            sampler="ddim",
            width_px=64,
            height_px=64,
            created_at=NOW - timedelta(minutes=minutes_ago),
        )
        self.session.add(generation)
        self.session.flush()
        for place in range(count if state is JobState.DONE else 0):
            scene = scene_of(find_individual(who[place % len(who)]), self.rng)
            image = Image(
                generation_id=generation.id,
                position=place,
                seed=seed + place,
                blob_sha256=self.blob(png(draw(scene))),
                width_px=64,
                height_px=64,
                created_at=NOW - timedelta(minutes=minutes_ago, seconds=place),
            )
            self.session.add(image)
        return generation


def tell(session: Session, store: BlobStore, owner: User) -> Story:
    """Four versions on two branches, one learning under way, one that failed, pictures made and being made."""
    write = Writer(session, store, owner)
    zigi = write.learned("zigi", 1, None, 60 * 50)
    write.asked("a photo of <zigi> mug on the beach", zigi, JobState.DONE, 60 * 49, ["zigi"])
    momo = write.learned("momo", 2, zigi, 60 * 27)
    momo.label = "mug and cat"
    bolt = write.learned("bolt", 3, momo, 60 * 26, "warn")
    write.asked("a photo of <zigi> mug next to <bolt> robot", bolt, JobState.DONE, 60 * 25, ["zigi", "bolt"])
    write.move(bolt, momo, "rolled back", 60 * 4)
    write.asked("a photo of <zigi> mug on the beach", momo, JobState.DONE, 60 * 3, ["zigi"])
    write.asked("a photo of <momo> cat at night", momo, JobState.DONE, 55, ["momo"], count=8, seed=7)
    write.asked("a photo of <momo> cat in the snow", momo, JobState.FAILED, 40, error="The worker was lost 3 times.")
    failed = write.job(
        JobKind.LEARN,
        JobState.FAILED,
        30,
        concept_id=write.concept(find_individual("bolt"), 30).id,
        stage="selection",
        error="This line of versions already knows <bolt>: choose another name, or go back to before it.",
    )
    running_concept = write.concept(find_individual("bolt"), 3)
    running = write.job(
        JobKind.LEARN,
        JobState.RUNNING,
        1.5,
        concept_id=running_concept.id,
        stage="learning",
        step=118,
        steps_total=STEPS,
        progress={
            "losses": [[step + 1, loss] for step, loss in enumerate(losses(118, 9))],
            "seconds_left": 38.4,
            "seconds": {"captions": 0.4, "selection": 3.2},
        },
        settings={"seed": 7},
        worker="here:1:1",
    )
    write.samples(running, find_individual("bolt"), 3)
    scenes = portraits(find_individual("bolt"), 5, seed=300)
    told = [f"a photo of a <bolt> robot {scene.background}" for scene in scenes]
    session.add(JobEvent(job_id=running.id, kind="captions", data={"captions": told}))
    write.asked("a photo of <momo> cat next to <zigi> mug", momo, JobState.RUNNING, 0.2, step=22, steps_total=80)
    write.asked("a photo of <zigi> mug in front of bricks", momo, JobState.QUEUED, 0.1, count=2)
    if session.get(WorkerRow, "here:1:1") is None:
        session.add(
            WorkerRow(
                id="here:1:1",
                base_id=make.BASE_ID,
                device="cpu",
                holds={"jobs": [], "learnings": 1, "generations": 1, "rows": 8, "memory_bytes": 1_320_000_000},
                seen_at=NOW + timedelta(days=1),
            )
        )
    session.commit()
    return Story(write.history.id, running.id, failed.id, momo.job_id or running.id)


def tell_of_damage(session: Session, store: BlobStore, owner: User) -> Story:
    """A mug in use, and a cat whose learning harmed it: that version was held back."""
    write = Writer(session, store, owner, "Two of them")
    zigi = write.learned("zigi", 1, None, 60 * 5)
    momo = write.learned("momo", 2, zigi, 9, "bad")
    assert momo.job_id
    session.commit()
    return Story(write.history.id, momo.job_id, momo.job_id, momo.job_id)


def losses(count: int, seed: int) -> list[float]:
    """A curve that falls and rests, as noisy as real ones."""
    rng = np.random.default_rng(seed)
    return [float(0.07 + 0.12 * math.exp(-step / 40) + rng.gamma(2.0, 0.012)) for step in range(count)]


def findings(name: str, noun: str, level: str, has_earlier: bool) -> list[dict[str, object]]:
    """As an examination writes them."""
    found: list[dict[str, object]] = [
        {
            "signature": "underfitting",
            "concept": name,
            "value": 0.72 if level == "ok" else 0.36,
            "threshold": 0.4,
            "severity": level,
            "sentence": f"<{name}> was learned: its pictures have gone 72 % of the way from any {noun} to yours."
            if level == "ok"
            else f"<{name}> is only partly recognisable: its pictures have gone 36 % of the way to your pictures.",
            "remedy": ""
            if level == "ok"
            else "Learn longer (400 steps instead of 200), or add pictures from other sides.",
        },
        {
            "signature": "zero-shot damage",
            "concept": None,
            "value": 0.98,
            "threshold": 0.95,
            "severity": "ok",
            "sentence": "Everything else is drawn as before: other prompts give pictures 98 % alike.",
            "remedy": "",
        },
    ]
    if level == "bad":
        found[0] |= {"value": 0.72, "severity": "ok", "sentence": f"<{name}> was learned.", "remedy": ""}
        harm = {
            "signature": "forgetting",
            "concept": "zigi",
            "value": 0.41,
            "threshold": 0.3,
            "severity": "bad",
            "sentence": "<zigi> is mostly forgotten: it was 74 % of the way to your pictures when it was learned and "
            "is 33 % now.",
            "remedy": "Go back to a version in which <zigi> was still right, and learn what came after it again with "
            "260 steps instead of 900 and a learning rate of 0.005 for the values instead of 0.05. Nothing is lost: "
            "old versions stay.",
            "changes": {"steps": 260, "lr_weights": 0.005},
        }
        apart = {"signature": "bleeding", "concept": "zigi", "value": 0.02, "threshold": 0.2, "severity": "ok"}
        found += [apart | {"sentence": f"<zigi> has kept apart from <{name}>.", "remedy": ""}, harm]
    elif has_earlier:
        found += [
            {
                "signature": signature,
                "concept": "zigi",
                "value": 0.04,
                "threshold": 0.15,
                "severity": "ok",
                "sentence": sentence,
                "remedy": "",
            }
            for signature, sentence in (
                ("bleeding", f"<zigi> looks no more like <{name}> than before."),
                ("forgetting", "<zigi> is as it was right after it was learned."),
            )
        ]
    return found


def png(pixels: np.ndarray) -> bytes:
    file = BytesIO()
    Pillow.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def told_to(visitor: Visitor) -> Story:
    """The story as this visitor's own."""
    with visitor.site.sessions() as session:
        return tell(session, visitor.site.store, session.get_one(User, visitor.user_id))
