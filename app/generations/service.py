"""Generations: pictures asked for under a version, pictures made, the gallery."""

import re
import secrets
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from tempfile import SpooledTemporaryFile
from typing import IO, Any
from uuid import UUID

from sqlalchemy.orm import Session

from app.concepts.service import check_open_jobs
from app.config import Settings
from app.db import UnitOfWork
from app.errors import Invalid
from app.generations.models import Generation, Image
from app.generations.reading import generation_of, get_image, get_image_asked
from app.generations.regions import Region, checked_regions
from app.histories.models import BaseModelRow, History
from app.histories.service import get_history
from app.histories.versions import get_version, known_names
from app.idempotency import Once, commit_once
from app.jobs.estimates import note_estimate
from app.jobs.models import Job, JobKind
from app.jobs.queueing import queue_job
from app.storage import BlobStore
from app.texts import written

TOKEN = re.compile(r"<([A-Za-z0-9_-]+)>")
LONGEST_PROMPT = 2000
MOST_STEPS = 200
LARGEST_SEED = 2**63 - 1
IN_MEMORY_BYTES = 16_000_000  # of an archive; what is larger is put together on disk


def ask(
    uow: UnitOfWork,
    limits: Settings,
    owner_id: UUID,
    history_id: UUID,
    *,
    prompt: str,
    version_number: int | None = None,
    negative_prompt: str = "",
    seed: int | None = None,
    count: int = 1,
    steps: int | None = None,
    guidance: float | None = None,
    sampler: str | None = None,
    width_px: int | None = None,
    height_px: int | None = None,
    regions: Sequence[Region] = (),
    apart: bool = True,
    deadline_s: float | None = None,
    once: Once | None = None,
) -> tuple[Generation, Job]:
    """Queue pictures of `prompt`. version_number: None for the head, 0 for the bare base; what is None is the base's
    own default, and a seed is drawn. apart: whether concepts keep out of each other's places. deadline_s: seconds from
    now; it then goes before others of its owner.

    Invalid for whatever the base or the version cannot do, in a sentence.
    """
    prompt = written(prompt, "prompt", LONGEST_PROMPT, "A prompt")
    negative_prompt = written(negative_prompt, "negative_prompt", LONGEST_PROMPT, "A negative prompt")
    if not prompt:
        raise Invalid("What shall be in the picture? The prompt is empty.", field="prompt")
    kept_regions = checked_regions(regions, LONGEST_PROMPT)
    if not 1 <= count <= limits.max_images:
        raise Invalid(f"1 to {limits.max_images} pictures can be asked for at once, not {count}.", field="count")
    with uow:
        session = uow.session
        if once and (done := once.find(session)):
            return generation_of(session, done), session.get_one(Job, done)
        history = get_history(session, owner_id, history_id)
        check_open_jobs(session, owner_id, limits)
        version_id = history.head_id
        if version_number is not None:
            version = get_version(session, history, version_number)
            version_id = version.id if version else None
        facts = session.get_one(BaseModelRow, history.base_id).facts
        known = names_in_prompts(session, history, version_id, facts)
        check_tokens(prompt, known, "prompt")
        check_tokens(negative_prompt, known, "negative_prompt")
        for place, region in enumerate(kept_regions):
            check_tokens(region["prompt"], known, f"regions.{place}.prompt")
        width, height = _checked_size(facts, limits, width_px, height_px)
        job = queue_job(
            uow,
            Job(
                owner_id=owner_id,
                history_id=history.id,
                kind=JobKind.GENERATE.value,
                max_attempts=limits.max_attempts,
                deadline_at=None if deadline_s is None else datetime.now(UTC) + timedelta(seconds=deadline_s),
            ),
        )
        generation = Generation(
            history_id=history.id,
            job_id=job.id,
            version_id=version_id,
            prompt=prompt,
            negative_prompt=negative_prompt,
            seed=_checked_seed(seed, count),
            count=count,
            steps=_checked_steps(steps if steps is not None else facts["steps"]),
            guidance=_checked_guidance(guidance if guidance is not None else facts["guidance"]),
            sampler=_checked_sampler(facts, sampler),
            width_px=width,
            height_px=height,
            regions=kept_regions,
            apart=apart,
        )
        session.add(generation)
        note_estimate(session, job)
        job_id = commit_once(uow, once, job.id)
        return generation_of(session, job_id), session.get_one(Job, job_id, populate_existing=True)


def names_in_prompts(
    session: Session, history: History, version_id: UUID | None, facts: Mapping[str, Any]
) -> tuple[str, ...]:
    """What may stand between < and >: concepts that the version knows, and tokens that its base knows by itself, as one
    does that was exported with concepts. facts: of the base.
    """
    return (*known_names(session, history, version_id), *facts.get("own_tokens", ()))


def check_tokens(prompt: str, known: Collection[str], field: str = "prompt") -> None:
    """Every <token> must be one that the version knows; the sentence says which it does know."""
    for name in TOKEN.findall(prompt):
        if name not in known:
            names = ", ".join(f"<{one}>" for one in known) or "no concept yet"
            near = get_close_matches(name, known, 1)
            hint = f" Did you mean <{near[0]}>?" if near and len(known) > 1 else ""
            raise Invalid(f"This version does not know <{name}>. It knows {names}.{hint}", field=field)


def _checked_size(
    facts: dict[str, Any], limits: Settings, width_px: int | None, height_px: int | None
) -> tuple[int, int]:
    step, native = facts["size_step_px"], facts["native_px"]
    sizes = (native if width_px is None else width_px, native if height_px is None else height_px)
    for field, size in zip(("width_px", "height_px"), sizes, strict=True):
        if not step <= size <= limits.max_side_px:
            raise Invalid(f"A side has {step} to {limits.max_side_px} pixels, not {size}.", field=field)
        if size % step:
            raise Invalid(f"A side must be a multiple of {step} pixels, and {size} is not.", field=field)
    return sizes


def _checked_seed(seed: int | None, count: int) -> int:
    if seed is None:
        return secrets.randbelow(2**32)
    if not 0 <= seed <= LARGEST_SEED - (count - 1):
        raise Invalid("A seed is a whole number from 0 to 2^63 - 1, and so is that of the last picture.", field="seed")
    return seed


def _checked_steps(steps: int) -> int:
    if not 1 <= steps <= MOST_STEPS:
        raise Invalid(f"1 to {MOST_STEPS} steps can be taken, not {steps}.", field="steps")
    return steps


def _checked_guidance(guidance: float) -> float:
    if not 0 <= guidance <= 50:
        raise Invalid(f"Guidance lies between 0 and 50, not at {guidance}.", field="guidance")
    return guidance


def _checked_sampler(facts: dict[str, Any], sampler: str | None) -> str:
    sampler = sampler or facts["sampler"]
    if sampler not in facts["samplers"]:
        raise Invalid(f"There is no sampler {sampler!r}; there are {', '.join(facts['samplers'])}.", field="sampler")
    return sampler


# --- changing ------------------------------------------------------------------------------------------------------


def delete_images(uow: UnitOfWork, owner_id: UUID, image_ids: Sequence[UUID]) -> list[str]:
    """Delete pictures of the owner's; NotFound, and none is deleted, when one is not. Returns the digests of their
    files, which may be needed no more.
    """
    with uow:
        images = [get_image(uow.session, owner_id, image_id) for image_id in dict.fromkeys(image_ids)]
        for image in images:
            uow.session.delete(image)
        uow.commit()
        return [image.blob_sha256 for image in images]


def zip_images(session: Session, store: BlobStore, owner_id: UUID, image_ids: Sequence[UUID]) -> IO[bytes]:
    """The pictures as one archive, stored and not squeezed, as PNGs get no smaller. Open, and at its beginning."""
    named = list(_named(session, owner_id, image_ids))
    file = SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 - whoever sends it closes it
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for image, name in named:
            archive.writestr(name, store.get(image.blob_sha256))
    file.seek(0)
    return file


def _named(session: Session, owner_id: UUID, image_ids: Sequence[UUID]) -> Iterator[tuple[Image, str]]:
    for image_id in dict.fromkeys(image_ids):
        image, asked, _ = get_image_asked(session, owner_id, image_id)
        slug = re.sub(r"[^a-z0-9]+", "-", asked.prompt.lower()).strip("-")[:50] or "picture"
        yield image, f"{slug}-{image.seed}-{str(image.id)[:8]}.png"
