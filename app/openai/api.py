"""`/v1/images/generations` and `/v1/models`: the answer comes when the pictures are there."""

import base64
from io import BytesIO
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Request
from PIL import Image as Picture
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from app.accounts.caller import Caller
from app.deps import AppState, CurrentUser, Reading, check_may_start
from app.errors import Busy, Invalid, TooMany
from app.generations import reading, service
from app.generations.models import Generation, Image
from app.histories.models import History
from app.histories.service import list_histories
from app.idempotency import Once
from app.jobs.api import IdempotencyKeyHeader
from app.jobs.long_waits import MOST_WAITING, place_to_wait, wait_for
from app.jobs.models import OPEN, JobState
from app.openai.errors import PREFIX
from app.openai.naming import find_model
from app.openai.retries import hand_out, key_for
from app.openai.schemas import Model, Models, PictureMade, PicturesAsked, PicturesMade
from app.routing import OneTurn
from app.state import State
from app.templating import address_of_site

router = APIRouter(prefix=PREFIX, route_class=OneTurn, include_in_schema=False)  # OpenAI describes it

LONGEST_WAIT_S = 540
"""Clients wait ten minutes, and then send the request again."""
COME_AGAIN_S = 5


@router.post("/images/generations", response_model_exclude_none=True)
async def make_pictures(
    asked: PicturesAsked,
    caller: CurrentUser,
    state: AppState,
    request: Request,
    idempotency_key: IdempotencyKeyHeader = None,
    retries: Annotated[str, Header(alias="x-stainless-retry-count")] = "0",
) -> PicturesMade:
    """As OpenAI's interface has it; concepts stand in the prompt as `<rex>`, each before its class noun."""
    is_sent_again = retries not in ("", "0")
    async with place_to_wait(caller.id, request) as has_place:
        if not has_place:
            raise TooMany(f"{MOST_WAITING} of your requests are being waited for. Send this one when one has ended.")
        async with key_for(state, request, caller.id, asked, idempotency_key, is_sent_again) as once:
            generation_id, job_id = await run_in_threadpool(_begin, state, caller, asked, once)
            await wait_for(state, request, job_id, LONGEST_WAIT_S)
            made = await run_in_threadpool(_take, state, caller, generation_id, asked, address_of_site(request))
            if await request.is_disconnected():
                raise ClientDisconnect
            if not await run_in_threadpool(hand_out, state.unit_of_work(), once):
                raise Busy("These pictures went to another request. Send this one again for others.", COME_AGAIN_S)
    return made


def _begin(state: State, caller: Caller, asked: PicturesAsked, once: Once) -> tuple[UUID, UUID]:
    """Queue them; or find those that were queued, when the request is one that was sent before. That one starts
    nothing, and its model may be another history by now.
    """
    if asked.stream:
        raise Invalid("Pictures come whole here, and not as a stream.", field="stream")
    width_px, height_px = asked.size_px()
    with state.readers() as session:
        if begun := once.find(session):
            return reading.generation_of(session, begun).id, begun
        check_may_start(state, caller, session)
        history_id, version_number = find_model(session, caller.id, asked.model)
    generation, job = service.ask(
        state.unit_of_work(),
        state.settings,
        caller.id,
        history_id,
        version_number=version_number,
        once=once,
        prompt=asked.prompt,
        negative_prompt=asked.negative_prompt or "",
        seed=asked.seed,
        count=asked.count,
        steps=asked.steps,
        guidance=asked.guidance_scale,
        sampler=asked.sampler,
        width_px=width_px,
        height_px=height_px,
    )
    return generation.id, job.id


def _take(state: State, caller: Caller, generation_id: UUID, asked: PicturesAsked, site: str) -> PicturesMade:
    with state.readers() as session:
        generation, job, _ = reading.get_waited_for(session, caller.id, generation_id)
        if job.state in OPEN:
            raise Busy("These pictures are not ready yet. Send the same request again to wait on.", COME_AGAIN_S)
        if job.state != JobState.DONE:
            raise Invalid(job.error or "These pictures were cancelled.")
        images = _images_of(session, generation)
    kind = asked.output_format or "png"
    if asked.response_format == "url":
        kind = "png"  # an address is that of the file as it lies here
        data = [PictureMade(url=f"{site}/api/v1/images/{image.id}/file") for image in images]
    else:
        files = (convert(state.store.get(image.blob_sha256), kind, asked.output_compression) for image in images)
        data = [PictureMade(b64_json=base64.b64encode(file).decode()) for file in files]
    size = f"{generation.width_px}x{generation.height_px}"
    return PicturesMade(created=int(generation.created_at.timestamp()), data=data, size=size, output_format=kind)


def _images_of(session: Session, generation: Generation) -> list[Image]:
    asked = select(Image).where(Image.generation_id == generation.id).order_by(Image.position)
    return list(session.scalars(asked))


def convert(png: bytes, kind: str, quality: int | None) -> bytes:
    """The file in another format: "png" as it is, "jpeg" and "webp" anew, without the recipe. quality: 0 to 100."""
    if kind == "png":
        return png
    file = BytesIO()
    with Picture.open(BytesIO(png), formats=["PNG"]) as picture:
        picture.convert("RGB").save(file, kind, **({} if quality is None else {"quality": quality}))
    return file.getvalue()


@router.get("/models")
def list_models(caller: CurrentUser, session: Reading) -> Models:
    """The caller's histories: each is a model."""
    return Models(data=[_model(one, caller) for one in list_histories(session, caller.id)])


@router.get("/models/{model:path}")
def get_model(model: str, caller: CurrentUser, session: Reading) -> Model:
    """One of them, by any name that pictures can be asked of it by."""
    history_id, _ = find_model(session, caller.id, model)
    return _model(session.get_one(History, history_id), caller, model)


def _model(history: History, caller: Caller, name: str | None = None) -> Model:
    return Model(id=name or history.name, created=int(history.created_at.timestamp()), owned_by=caller.name)
