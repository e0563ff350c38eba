"""REST: teach a concept, and look at those there are."""

import json
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import File, Form, Query, Response, UploadFile
from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy.orm import Session

from app.concepts import service
from app.concepts.models import Concept
from app.config import Settings
from app.deps import AppState, CurrentUser, Reading, StartingOnce, Uow, give_back
from app.errors import AppError, Invalid, SeveralRefused, TooLarge
from app.files import IfNoneMatch, blob_response, thumbnail_response
from app.histories import service as histories
from app.histories import versions
from app.idempotency import make_once
from app.jobs.api import IdempotencyKeyHeader
from app.jobs.schemas import JOB_EXAMPLE, JobShown, show_job
from app.learning_settings import LearningChanges
from app.pictures import CheckedPicture, check_picture, warn_about
from app.problems import described
from app.routing import rest_router
from app.turns import decodes_pictures

router = rest_router("concepts")


PICTURE_ID = "c1c5b1f2-3c64-4f5a-8c3e-2f6d1e9b7a10"
CONCEPT_EXAMPLE: dict[str, Any] = {
    "id": "7c0a3d7e-59a8-4f28-a3b0-0d8a0f7c1b22",
    "history_id": "0b4d5a5e-8a43-4f0e-9d2a-6a1c9d1f2e11",
    "name": "rex",
    "token": "<rex>",
    "class_noun": "dog",
    "created_at": "2026-11-23T10:00:00Z",
    "pictures": [
        {
            "id": PICTURE_ID,
            "file_name": "rex on the beach.jpg",
            "width_px": 1536,
            "height_px": 2048,
            "caption": "a photo of a <rex> dog on a beach",
            "url": f"/api/v1/pictures/{PICTURE_ID}/file",
            "thumbnail_url": f"/api/v1/pictures/{PICTURE_ID}/thumbnail",
        }
    ],
}
STARTED_EXAMPLE: dict[str, Any] = {
    "job": JOB_EXAMPLE
    | {"state": "queued", "stage": "", "step": 0, "seconds_left": None, "place": 0, "attempt": 0, "started_at": None},
    "warnings": ["Two pictures are few: with 3 to 10, the concept is told from its background better."],
}
CROWDED = {503: ("unavailable", "More pictures were sent than the server can look at. Try again in 10 seconds.")}


class LearningStarted(BaseModel):
    """The job that learns it, and sentences about the pictures that are worth reading."""

    model_config = ConfigDict(json_schema_extra={"example": STARTED_EXAMPLE})
    job: JobShown
    warnings: list[str]


class PictureShown(BaseModel):
    id: UUID
    file_name: str
    width_px: int
    height_px: int
    caption: str | None
    url: str
    thumbnail_url: str


class ConceptShown(BaseModel):
    """A concept and the pictures it was taught from. caption: null where it was left to the captioner."""

    model_config = ConfigDict(json_schema_extra={"example": CONCEPT_EXAMPLE})
    id: UUID
    history_id: UUID
    name: str
    token: str
    class_noun: str
    created_at: datetime
    pictures: list[PictureShown]


class Concepts(BaseModel):
    items: list[ConceptShown]


def sent_files(files: list[UploadFile], limits: Settings) -> list[UploadFile]:
    """Without empty fields of a form. TooLarge when there are too many."""
    files = [file for file in files if file.filename or file.size]
    if len(files) > limits.max_files:
        raise TooLarge(f"{len(files)} pictures are too many: at most {limits.max_files} are taken.", "pictures")
    return files


def read_uploads(files: list[UploadFile], limits: Settings) -> list[CheckedPicture]:
    """Check every file; raises what is wrong with all of those that cannot be used. No more is read than may be."""
    checked: list[CheckedPicture] = []
    refused: list[AppError] = []
    for file in files:
        try:
            checked.append(check_picture(file.file.read(limits.max_file_bytes + 1), file.filename or "", limits))
        except AppError as error:
            refused.append(error)
    if refused:
        raise refused[0] if len(refused) == 1 else SeveralRefused(refused)
    return checked


def read_settings(text: str) -> LearningChanges:
    """The settings of a form field, which is JSON."""
    if not text.strip():
        return LearningChanges()
    try:
        return LearningChanges.model_validate_json(text)
    except ValidationError as error:
        raise SeveralRefused([_setting_refused(tuple(one["loc"]), one["msg"]) for one in error.errors()]) from None


def _setting_refused(where: tuple[str | int, ...], why: str) -> Invalid:
    name = ".".join(str(part) for part in ("settings", *where))
    return Invalid(f"{name}: {why}.", field=name)


def read_captions(text: str) -> list[str]:
    """The captions of a form field, which is a JSON list of strings."""
    if not text.strip():
        return []
    try:
        captions = json.loads(text)
    except (ValueError, RecursionError):  # the second for a hundred thousand brackets
        captions = None
    if not isinstance(captions, list) or not all(isinstance(one, str) for one in captions):
        raise Invalid('Captions are a JSON list of strings, one for each picture: ["a photo of a dog"].', "captions")
    return captions


@router.post(
    "/histories/{history_id}/concepts",
    status_code=202,
    summary="Teach a concept",
    responses=described(403, 409, 413) | described(503, examples=CROWDED),
)
@decodes_pictures()
def teach(
    history_id: UUID,
    caller: StartingOnce,
    uow: Uow,
    session: Reading,
    state: AppState,
    response: Response,
    name: Annotated[str, Form(description="In prompts it is written <name>.", examples=["rex"])],
    class_noun: Annotated[str, Form(description="What kind of thing it is.", examples=["dog"])],
    pictures: Annotated[list[UploadFile], File(description="1 to 20 pictures: JPEG, PNG, WebP, HEIC, AVIF.")],
    captions: Annotated[str, Form(description='JSON list of strings, one a picture; "" leaves it to us.')] = "",
    settings: Annotated[str, Form(description='JSON of what shall differ, such as {"steps": 300}.')] = "",
    idempotency_key: IdempotencyKeyHeader = None,
) -> LearningStarted:
    """Teach a concept from its pictures. Learnings of one history run one after another, in the order they came."""
    # Before any picture is decoded, which takes longer than all else.
    histories.get_history(session, caller.id, history_id)
    give_back(session)
    said, changes = read_captions(captions), read_settings(settings)
    files = sent_files(pictures, state.settings)
    service.check_lesson(name, class_noun, len(files), said, state.settings)
    checked = read_uploads(files, state.settings)
    once = make_once(
        caller.id,
        idempotency_key,
        "teach",
        history_id,
        name,
        class_noun,
        [picture.source_sha256 for picture in checked],
        said,
        changes.given(),
    )
    job = service.start_learning(
        uow,
        state.store,
        state.settings,
        caller.id,
        history_id,
        name=name,
        class_noun=class_noun,
        pictures=checked,
        captions=said,
        settings=changes.given(),
        once=once,
    )
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return LearningStarted(job=show_job(session, job), warnings=warn_about(checked))


@router.get("/histories/{history_id}/concepts")
def list_concepts(
    history_id: UUID,
    caller: CurrentUser,
    session: Reading,
    version: Annotated[int | None, Query(ge=0, description="What this version knows; without it, the head.")] = None,
) -> Concepts:
    """What a version knows, in the order it was learned."""
    history = histories.get_history(session, caller.id, history_id)
    version_id = history.head_id
    if version is not None:
        found = versions.get_version(session, history, version)
        version_id = found.id if found else None
    line = versions.lineage(session, history, version_id)
    return Concepts(items=[show_concept(session, step.concept) for step in line])


@router.get("/concepts/{concept_id}")
def get_concept(concept_id: UUID, caller: CurrentUser, session: Reading) -> ConceptShown:
    """One concept with its pictures."""
    return show_concept(session, service.get_concept(session, caller.id, concept_id))


def show_concept(session: Session, concept: Concept) -> ConceptShown:
    return ConceptShown(
        id=concept.id,
        history_id=concept.history_id,
        name=concept.name,
        token=f"<{concept.name}>",
        class_noun=concept.class_noun,
        created_at=concept.created_at,
        pictures=[
            PictureShown(
                id=picture.id,
                file_name=picture.file_name,
                width_px=picture.width_px,
                height_px=picture.height_px,
                caption=picture.caption,
                url=f"/api/v1/pictures/{picture.id}/file",
                thumbnail_url=f"/api/v1/pictures/{picture.id}/thumbnail",
            )
            for picture in service.pictures_of(session, concept.id)
        ],
    )


@router.get("/pictures/{picture_id}/file", response_class=Response, responses={200: {"content": {"image/png": {}}}})
def get_picture(
    picture_id: UUID, caller: CurrentUser, session: Reading, state: AppState, if_none_match: IfNoneMatch = None
) -> Response:
    """A picture a concept was taught from, as it is kept: upright, without metadata, PNG."""
    picture = service.get_picture(session, caller.id, picture_id)
    return blob_response(state, picture.blob_sha256, "image/png", if_none_match)


@router.get(
    "/pictures/{picture_id}/thumbnail", response_class=Response, responses={200: {"content": {"image/webp": {}}}}
)
def get_picture_thumbnail(
    picture_id: UUID,
    caller: CurrentUser,
    session: Reading,
    state: AppState,
    size: int = 192,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """A small WebP of it. size: 96, 192 or 384 pixels."""
    picture = service.get_picture(session, caller.id, picture_id)
    return thumbnail_response(state, picture.blob_sha256, size, if_none_match)
