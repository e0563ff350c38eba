"""One generation: claim, let its pictures be made in the engine's shared batches, publish."""

import base64
import time
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import TYPE_CHECKING
from uuid import UUID

from PIL.Image import Resampling
from sqlalchemy import select
from sqlalchemy.orm import Session
from torch import Tensor

from app.blobs import keep
from app.generations.models import Generation, Image
from app.histories.models import BaseModelRow, History
from app.jobs.claims import CancelCameFirst, LostClaim, end
from app.jobs.models import Job, JobKind, JobState
from cns.delta import Delta
from cns.denoise import GenerationRequest, to_pictures
from cns.recipe import recipe_of, to_png
from cns.regions import Region
from worker.attempt import attempt, check_base
from worker.dropped_files import forget_files
from worker.errors import ClaimGone, TookTooLong
from worker.hands import Hold
from worker.lineage import lineage
from worker.orders import Order
from worker.progress import Progress
from worker.transactions import transact

if TYPE_CHECKING:
    from worker.process import Worker

LIMIT_S = 3600.0  # a generation that takes longer than this is given up
LOOK_S = 0.2
PREVIEW_EVERY_S = 1.0
PREVIEW_PX = 256
MOST_SEEDS = 2**63  # seeds are stored as signed 64-bit numbers; after the last one comes 0


@dataclass(frozen=True)
class Asked:
    """What was asked for."""

    generation_id: UUID
    owner_id: UUID
    number: int  # of the version in its history, 0 for the bare base
    digests: tuple[str, ...]
    requests: tuple[GenerationRequest, ...]
    deadline: datetime | None


def generate(worker: "Worker", job_id: UUID) -> bool:
    """Do the generation of that job, unless somebody else has it."""
    return attempt(worker, job_id, JobKind.GENERATE, _work)


def _work(worker: "Worker", hold: Hold) -> None:
    asked = transact(worker.sessions, lambda session: _read(worker, session, hold.job_id))
    deltas = worker.versions.deltas(asked.digests)
    order = Order(lambda: worker.versions.composed.compose(deltas), asked.requests, asked.owner_id, asked.deadline)
    progress = Progress(worker.sessions, worker.bell, hold)
    progress.begin("generating", order.steps_total)
    worker.engine.ask(order)
    try:
        _watch(order, hold, progress)
    finally:
        order.drop()
    pictures = order.pictures()
    _publish(worker, hold, asked, deltas, pictures)


def _read(worker: "Worker", session: Session, job_id: UUID) -> Asked:
    generation = session.scalar(select(Generation).where(Generation.job_id == job_id))
    job = session.get(Job, job_id)
    if generation is None or job is None:
        raise ClaimGone
    history = session.get_one(History, generation.history_id)
    check_base(worker, history, session.get(BaseModelRow, history.base_id))
    line = lineage(session, generation.version_id)
    regions = tuple(Region(**region) for region in generation.regions)
    requests = tuple(
        GenerationRequest(
            prompt=generation.prompt,
            negative_prompt=generation.negative_prompt,
            seed=(generation.seed + place) % MOST_SEEDS,
            steps=generation.steps,
            guidance=generation.guidance,
            sampler=generation.sampler,
            width_px=generation.width_px,
            height_px=generation.height_px,
            regions=regions,
            apart=generation.apart,
        )
        for place in range(generation.count)
    )
    digests = tuple(ancestor.delta_sha256 for ancestor in line)
    number = line[-1].number if line else 0
    return Asked(generation.id, job.owner_id, number, digests, requests, job.deadline_at)


def _watch(order: Order, hold: Hold, progress: Progress) -> None:
    """Wait until the pictures are there, and tell how far they are."""
    deadline = time.monotonic() + LIMIT_S
    next_preview = 0.0
    while not order.finished.wait(LOOK_S):
        hold.check()
        now = time.monotonic()
        if now > deadline:
            raise TookTooLong(f"These pictures took longer than {LIMIT_S / 60:.0f} minutes and were given up.")
        progress.tell(order.steps_done)
        if progress.watched and now >= next_preview:
            next_preview = now + PREVIEW_EVERY_S
            order.preview_wanted = True
        if (look := order.take_preview()) is not None:
            progress.show(small_png(look[0]), order.steps_done)
    hold.check()


def small_png(pixels: Tensor) -> str:
    """A picture (3, height, width) in 0..1 as a small PNG in base64."""
    picture = to_pictures([pixels])[0]
    picture.thumbnail((PREVIEW_PX, PREVIEW_PX), Resampling.BILINEAR)
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def _publish(worker: "Worker", hold: Hold, asked: Asked, deltas: tuple[Delta, ...], pictures: list[Tensor]) -> None:
    """All pictures and the end of the job in one transaction.

    The files first: nobody could renew the job's lease while its row is locked, and a disk may keep us waiting. Those
    of an attempt that turns out to be over are removed again.
    """
    base = worker.equipment.base
    made = [
        (request, picture, to_png(picture, recipe_of(base, deltas, request, asked.number)))
        for request, picture in zip(asked.requests, to_pictures(pictures), strict=True)
    ]

    kept: list[str] = []

    def write(session: Session) -> None:
        kept[:] = [keep(session, worker.store, png, "image/png") for _, _, png in made]
        end(session, hold.claim, JobState.DONE)
        for place, ((request, picture, _), digest) in enumerate(zip(made, kept, strict=True)):
            session.add(
                Image(
                    generation_id=asked.generation_id,
                    position=place,
                    seed=request.seed,
                    blob_sha256=digest,
                    width_px=picture.width,
                    height_px=picture.height,
                )
            )

    try:
        transact(worker.sessions, write)
    except (LostClaim, CancelCameFirst):
        forget_files(worker, kept)
        raise
    worker.bell.wake(hold.job_id)
