"""REST: forgettings and the proofs of erasure."""

from datetime import datetime
from typing import Any
from uuid import UUID

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from app.deps import AppState, CurrentUser, Reading, StartingOnce, Uow
from app.forgettings import service
from app.forgettings.models import Forgetting, Mode, Shared
from app.histories import service as histories
from app.idempotency import make_once
from app.jobs.api import IdempotencyKeyHeader
from app.jobs.models import Job
from app.jobs.schemas import JOB_EXAMPLE, JobShown, show_job
from app.problems import described
from app.routing import rest_router

router = rest_router("forgettings")

PROOF_EXAMPLE: dict[str, Any] = {
    "versions": [2, 3],
    "removed": [
        {
            "sha256": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
            "what": "the delta of version 2",
        }
    ],
    "still_used": [],
    "files_looked_at": 61,
    "checked_at": "2026-11-26T10:00:05+00:00",
}
FORGETTING_EXAMPLE: dict[str, Any] = {
    "id": "0d6c3f0e-5f0e-4b5c-9f51-3a1f6d0b7a21",
    "history_id": "0b4d5a5e-8a43-4f0e-9d2a-6a1c9d1f2e11",
    "concept": "rex",
    "class_noun": "dog",
    "mode": "fast",
    "shared": "kept",
    "erase": True,
    "versions": [4, 5],
    "published_at": "2026-11-26T10:00:03Z",
    "proof": PROOF_EXAMPLE,
    "created_at": "2026-11-26T10:00:00Z",
    "job": JOB_EXAMPLE
    | {"kind": "forget", "state": "done", "concept_id": None, "stage": "erasing", "step": 0, "settings": {}},
}


class NewForgetting(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"concept": "rex", "mode": "exact", "erase": True}})
    concept: str = Field(description="Name of a concept that the version in use knows.")
    mode: Mode = Field(
        Mode.FAST, description="fast: at once, from what is stored. exact: the later concepts are learned again."
    )
    shared: Shared = Field(
        Shared.KEPT,
        description="Of a fast one: what becomes of values that a later concept learned on top of it: kept, blended "
        "half way, or rebased, which takes away all that the forgotten concept had changed there.",
    )
    erase: bool = Field(
        False, description="Delete every version that knows it, and all that was made with it. Cannot be undone."
    )


class Erased(BaseModel):
    """Bytes that were erased. what: in plain words."""

    sha256: str
    what: str


class Proof(BaseModel):
    """What was erased, and where it was looked for afterwards.

    versions: numbers of those erased. removed: none of these bytes is in the storage or named in the database any more.
    still_used: bytes that something else needs, such as a picture that another concept was taught with.
    files_looked_at: files in the storage when it was checked, none of which is one of the removed.
    """

    model_config = ConfigDict(json_schema_extra={"example": PROOF_EXAMPLE})
    versions: list[int]
    removed: list[Erased]
    still_used: list[Erased]
    files_looked_at: int
    checked_at: datetime


class ForgettingShown(BaseModel):
    """A concept that a history goes on without, or will. versions: numbers of the new line, once it is published."""

    model_config = ConfigDict(json_schema_extra={"example": FORGETTING_EXAMPLE})
    id: UUID
    history_id: UUID
    concept: str
    class_noun: str
    mode: Mode
    shared: Shared
    erase: bool
    versions: list[int]
    published_at: datetime | None
    proof: Proof | None = Field(description="Once it is erased.")
    created_at: datetime
    job: JobShown


class Forgettings(BaseModel):
    items: list[ForgettingShown]


def show_forgetting(session: Session, forgetting: Forgetting) -> ForgettingShown:
    proof = Proof.model_validate(forgetting.proof) if "removed" in forgetting.proof else None
    return ForgettingShown(
        id=forgetting.id,
        history_id=forgetting.history_id,
        concept=forgetting.name,
        class_noun=forgetting.class_noun,
        mode=Mode(forgetting.mode),
        shared=Shared(forgetting.shared),
        erase=forgetting.erase,
        versions=forgetting.versions,
        published_at=forgetting.published_at,
        proof=proof,
        created_at=forgetting.created_at,
        job=show_job(session, session.get_one(Job, forgetting.job_id)),
    )


@router.post(
    "/histories/{history_id}/forgettings",
    status_code=202,
    summary="Forget a concept",
    responses=described(403, 409),
)
def forget(
    history_id: UUID,
    new: NewForgetting,
    caller: StartingOnce,
    uow: Uow,
    session: Reading,
    state: AppState,
    response: Response,
    idempotency_key: IdempotencyKeyHeader = None,
) -> ForgettingShown:
    """Make a line of versions that goes on without a concept, and use it. The old line stays, unless it is erased.

    It takes its turn among the learnings of the history. Pictures that wait or are being made at a version that is
    erased are deleted with it.
    """
    histories.get_history(session, caller.id, history_id)
    made = service.start_forgetting(
        uow,
        state.settings,
        caller.id,
        history_id,
        concept=new.concept,
        mode=new.mode,
        shared=new.shared,
        erase=new.erase,
        once=make_once(caller.id, idempotency_key, "forget", history_id, new.model_dump(mode="json")),
    )
    response.headers["Location"] = f"/api/v1/forgettings/{made.id}"
    return show_forgetting(session, made)


@router.get("/histories/{history_id}/forgettings")
def list_forgettings(history_id: UUID, caller: CurrentUser, session: Reading) -> Forgettings:
    """What a history was asked to forget, the latest first."""
    history = histories.get_history(session, caller.id, history_id)
    found = service.list_forgettings(session, history.id)
    return Forgettings(items=[show_forgetting(session, forgetting) for forgetting, _ in found])


@router.get("/forgettings/{forgetting_id}")
def get_forgetting(forgetting_id: UUID, caller: CurrentUser, session: Reading) -> ForgettingShown:
    """One of them as it is now, with the proof once it is erased."""
    return show_forgetting(session, service.get_forgetting(session, caller.id, forgetting_id))
