"""Base models, histories, versions and moves of head, as programs see them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from app.histories import versions
from app.histories.models import History

HISTORY_EXAMPLE: dict[str, Any] = {
    "id": "0b4d5a5e-8a43-4f0e-9d2a-6a1c9d1f2e11",
    "name": "pets",
    "base_id": "9c56cc51b374c3ba189210d5b6d4bf57790d351c96c47c02190ecf1e430635ab",
    "head": 2,
    "guards_head": True,
    "created_at": "2026-11-23T10:00:00Z",
    "concepts": [
        {"name": "rex", "class_noun": "dog", "version": 1},
        {"name": "momo", "class_noun": "cat", "version": 2},
    ],
}

VERSION_EXAMPLE: dict[str, Any] = {
    "number": 2,
    "parent": 1,
    "concept": "momo",
    "concept_id": "7c0a3d7e-59a8-4f28-a3b0-0d8a0f7c1b22",
    "class_noun": "cat",
    "job_id": "b9f1c1de-21b5-4f6f-9a3c-0e6f1f6a7c55",
    "label": "before the mug",
    "is_head": True,
    "delta_sha256": "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae",
    "delta_bytes": 48213,
    "report": {
        "density": {"base": 0.31, "general": 0.12, "concept": 0.05},
        "overlap": 0.02,
        "reach": "token",
        "final_loss": 0.07,
    },
    "seconds": {"captions": 0.2, "selection": 1.1, "learning": 27.9, "diagnosis": 3.4},
    "diagnosis": [
        {
            "signature": "underfitting",
            "concept": "momo",
            "value": 0.83,
            "threshold": 0.4,
            "severity": "ok",
            "sentence": "<momo> was learned: its pictures have gone 83 % of the way from any cat to your pictures.",
            "remedy": "",
            "changes": {},
        }
    ],
    "examination": {"likeness": 0.83},
    "held_back": [],
    "created_at": "2026-11-23T10:00:31Z",
}
FACTS_EXAMPLE: dict[str, Any] = {
    "name": "storybook",
    "native_px": 64,
    "size_step_px": 8,
    "samplers": ["ddim", "euler", "dpm++2m", "unipc"],
    "sampler": "ddim",
    "steps": 20,
    "guidance": 4.0,
    "learning": {"steps": 200, "batch": 16},
}
MOVES_EXAMPLE: dict[str, Any] = {
    "items": [
        {
            "from_version": 2,
            "to_version": 1,
            "why": "rolled back",
            "user_id": "4a3c7f0e-7b52-4d7a-8d1a-0d5f3a9e6c11",
            "at": "2026-11-23T10:05:00Z",
        }
    ],
    "next": None,
}


class BaseModelShown(BaseModel):
    """A base model that a worker holds. facts: sizes, samplers and the defaults of generating and learning."""

    model_config = ConfigDict(from_attributes=True)
    id: str = Field(description="SHA-256 of its weights.", examples=[HISTORY_EXAMPLE["base_id"]])
    source: str = Field(examples=["storybook"])
    facts: dict[str, Any] = Field(examples=[FACTS_EXAMPLE])
    seen_at: datetime


class BaseModels(BaseModel):
    items: list[BaseModelShown]


class NewHistory(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"name": "pets"}})
    name: str
    base_id: str | None = Field(None, description="One of /base-models; without it the one the workers hold.")


class HistoryChange(BaseModel):
    """What is not given stays as it is."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "our pets"}})
    name: str | None = None
    guards_head: bool | None = Field(
        None, description="A version whose learning did damage is published beside head, not as head."
    )


class KnownConcept(BaseModel):
    """A concept that a version knows. version: the number of the version that learned it."""

    name: str
    class_noun: str
    version: int


class HistoryShown(BaseModel):
    """A history as its owner left it. head: number of the version in use, 0 the bare base. concepts: those it knows."""

    model_config = ConfigDict(json_schema_extra={"example": HISTORY_EXAMPLE})
    id: UUID
    name: str
    base_id: str
    head: int
    guards_head: bool = Field(description="A version whose learning did damage is published beside head, not as head.")
    created_at: datetime
    concepts: list[KnownConcept]


class Histories(BaseModel):
    items: list[HistoryShown]
    next: str | None


class VersionShown(BaseModel):
    """One learned state. It never changes, but for its label."""

    model_config = ConfigDict(json_schema_extra={"example": VERSION_EXAMPLE})
    number: int = Field(description="1, 2, 3... in the order of learning, over all branches.")
    parent: int = Field(description="Number of the version it was learned on; 0 for the bare base.")
    concept: str
    concept_id: UUID
    class_noun: str
    job_id: UUID | None = Field(description="The learning it came of, with its settings and samples.")
    label: str | None
    is_head: bool
    delta_sha256: str = Field(description="Of the learned values: the same inputs and seed give the same one.")
    delta_bytes: int
    report: dict[str, Any] = Field(
        description="Densities of the masks, overlap with earlier concepts, where the values apply, how hard the token "
        "pulls at little noise and for which share of the noise levels its pictures are guided, captions, losses, peak "
        "memory on a GPU."
    )
    seconds: dict[str, Any] = Field(description="How long each part of the learning took.")
    diagnosis: list[Any] = Field(
        description="Four signatures, each measured, with its threshold, a sentence, a remedy, what that changes."
    )
    examination: dict[str, Any] = Field(description="The measured numbers behind the diagnosis.")
    held_back: list[Any] = Field(
        description="Those of the diagnosis because of which it was not made head when it was learned; else empty."
    )
    created_at: datetime


class Versions(BaseModel):
    """head: the number of the version in use."""

    head: int
    items: list[VersionShown]
    next: str | None


class VersionChange(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"label": "before the mug"}})
    label: str = Field(description="A name of your own for it; empty takes it away.")


class HeadChange(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"version": 1}})
    version: int = Field(ge=0, description="Any version of this history, back or forward; 0 is the bare base.")


class HeadMoveShown(BaseModel):
    """One move of the head. user_id: nobody where a learning moved it."""

    from_version: int
    to_version: int
    why: str
    user_id: UUID | None
    at: datetime


class HeadMoves(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": MOVES_EXAMPLE})
    items: list[HeadMoveShown]
    next: str | None


def show_history(session: Session, history: History) -> HistoryShown:
    return show_histories(session, [history])[0]


def show_histories(session: Session, histories: Sequence[History]) -> list[HistoryShown]:
    known = versions.known_by_each(session, {history.id: history.head_id for history in histories})
    return [_show(history, known[history.id]) for history in histories]


def _show(history: History, known: Sequence[versions.Known]) -> HistoryShown:
    return HistoryShown(
        id=history.id,
        name=history.name,
        base_id=history.base_id,
        head=known[-1].number if known else 0,
        guards_head=history.guards_head,
        created_at=history.created_at,
        concepts=[KnownConcept(name=one.name, class_noun=one.class_noun, version=one.number) for one in known],
    )


def show_versions(
    history: History, numbers: Mapping[UUID | None, int], steps: Iterable[versions.Step]
) -> list[VersionShown]:
    """numbers: of every version of the history, 0 for no version."""
    return [
        VersionShown(
            number=step.version.number,
            parent=numbers[step.version.parent_id],
            concept=step.concept.name,
            concept_id=step.concept.id,
            class_noun=step.concept.class_noun,
            job_id=step.version.job_id,
            label=step.version.label,
            is_head=step.version.id == history.head_id,
            delta_sha256=step.version.delta_sha256,
            delta_bytes=step.version.delta_bytes,
            report=step.version.report,
            seconds=step.version.seconds,
            diagnosis=step.version.diagnosis,
            examination=step.version.examination,
            held_back=step.version.held_back,
            created_at=step.version.created_at,
        )
        for step in steps
    ]
