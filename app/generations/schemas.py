"""Requests for pictures, and the pictures, as programs see them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from app.generations import reading
from app.generations.models import Generation, Image
from app.generations.regions import MOST_REGIONS
from app.jobs.models import Job
from app.jobs.schemas import GENERATE_EXAMPLE, JobShown, show_jobs

LONGEST_DEADLINE_S = 7 * 24 * 3600

PROMPT_EXAMPLE = "a photo of a <rex> dog next to a <momo> cat on the grass"
REGIONS_EXAMPLE: list[Any] = [
    {"prompt": "a photo of a <rex> dog next to a cat on the grass", "left": 0, "top": 0, "right": 0.5, "bottom": 1},
    {"prompt": "a photo of a dog next to a <momo> cat on the grass", "left": 0.5, "top": 0, "right": 1, "bottom": 1},
]
IMAGE_EXAMPLE: dict[str, Any] = {
    "id": "9e0f1b3c-41f7-4a52-b0a8-7c9a5d2e6f33",
    "seed": 1,
    "width_px": 64,
    "height_px": 64,
    "url": "/api/v1/images/9e0f1b3c-41f7-4a52-b0a8-7c9a5d2e6f33/file",
    "thumbnail_url": "/api/v1/images/9e0f1b3c-41f7-4a52-b0a8-7c9a5d2e6f33/thumbnail",
}
GENERATION_EXAMPLE: dict[str, Any] = {
    "id": "e2a1f4a6-0a5d-4b7f-9e0a-4a3f8d7c6b51",
    "history_id": "0b4d5a5e-8a43-4f0e-9d2a-6a1c9d1f2e11",
    "version": 2,
    "prompt": PROMPT_EXAMPLE,
    "negative_prompt": "",
    "seed": 1,
    "count": 1,
    "steps": 20,
    "guidance": 4.0,
    "sampler": "ddim",
    "width_px": 64,
    "height_px": 64,
    "regions": REGIONS_EXAMPLE,
    "apart": True,
    "created_at": "2026-11-23T10:00:00Z",
    "job": GENERATE_EXAMPLE,
    "images": [IMAGE_EXAMPLE],
}


class RegionOfPicture(BaseModel):
    """A box in the picture with a prompt of its own, which holds inside it in the place of the picture's.

    Its edges are shares of the picture's width and height, from 0 at the left and the top to 1.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, json_schema_extra={"example": REGIONS_EXAMPLE[0]})
    prompt: str
    left: float = Field(ge=0, le=1)
    top: float = Field(ge=0, le=1)
    right: float = Field(ge=0, le=1)
    bottom: float = Field(ge=0, le=1)


class NewGeneration(BaseModel):
    """What shall be in the pictures. Whatever is left out is the base model's own default; a seed is drawn."""

    model_config = ConfigDict(
        extra="forbid",
        allow_inf_nan=False,
        json_schema_extra={"example": {"prompt": PROMPT_EXAMPLE, "count": 4, "seed": 1}},
    )
    prompt: str
    negative_prompt: str = ""
    version: int | None = Field(None, ge=0, description="Number of the version; without it the head. 0: the bare base.")
    seed: int | None = Field(None, ge=0, lt=2**63, description="Picture i is made from seed + i.")
    count: int = Field(1, ge=1)
    steps: int | None = Field(None, ge=1)
    guidance: float | None = Field(None, ge=0)
    sampler: str | None = None
    width_px: int | None = Field(None, ge=1)
    height_px: int | None = Field(None, ge=1)
    deadline_s: float | None = Field(
        None,
        gt=0,
        le=LONGEST_DEADLINE_S,
        description="Seconds from now by when it is wanted: it goes before other pictures of its user, and before "
        "nobody else's. One that has passed ends nothing.",
    )
    regions: list[RegionOfPicture] = Field(
        default_factory=list,
        max_length=MOST_REGIONS,
        examples=[REGIONS_EXAMPLE],
        description="Boxes with prompts of their own. Where boxes overlap, they share; where none is, "
        "`prompt` holds. The words of a box are read as those of a whole picture, of which it shows its part.",
    )
    apart: bool = Field(
        True,
        description="Where `prompt` names several concepts, each followed by its class noun, every place of the "
        "picture reads the one whose noun it attends to most, so that none takes on the looks of another. For concepts "
        "whose values apply at their own token, and that are things: a style is read everywhere.",
    )


class ImageShown(BaseModel):
    """One picture. url: the PNG, with its recipe inside."""

    model_config = ConfigDict(json_schema_extra={"example": IMAGE_EXAMPLE})
    id: UUID
    seed: int
    width_px: int
    height_px: int
    url: str
    thumbnail_url: str


class GenerationShown(BaseModel):
    """A request for pictures, and the pictures made so far. version: 0 for the bare base."""

    model_config = ConfigDict(json_schema_extra={"example": GENERATION_EXAMPLE})
    id: UUID
    history_id: UUID
    version: int
    prompt: str
    negative_prompt: str
    seed: int
    count: int
    steps: int
    guidance: float
    sampler: str
    width_px: int
    height_px: int
    regions: list[RegionOfPicture]
    apart: bool
    created_at: datetime
    job: JobShown
    images: list[ImageShown]


class Generations(BaseModel):
    items: list[GenerationShown]
    next: str | None


class GalleryImage(ImageShown):
    """A picture with what it was asked for."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": IMAGE_EXAMPLE
            | {key: GENERATION_EXAMPLE[key] for key in ("history_id", "version", "prompt", "created_at")}
            | {"generation_id": GENERATION_EXAMPLE["id"]}
        }
    )
    generation_id: UUID
    history_id: UUID
    version: int
    prompt: str
    created_at: datetime


class Gallery(BaseModel):
    items: list[GalleryImage]
    next: str | None


class RecipeShown(BaseModel):
    """How a picture was made, as its PNG says itself.

    parameters: in the words that other programs for pictures show. recipe: complete, so that the same base, deltas and
    versions of libraries make the same picture again.
    """

    parameters: str = Field(examples=[f"{PROMPT_EXAMPLE}\nSteps: 20, Sampler: DDIM, CFG scale: 4.0, Seed: 1"])
    recipe: dict[str, Any] = Field(examples=[{"prompt": PROMPT_EXAMPLE, "seed": 1, "steps": 20, "sampler": "ddim"}])


def file_url(image_id: UUID) -> str:
    return f"/api/v1/images/{image_id}/file"


def thumbnail_url(image_id: UUID) -> str:
    return f"/api/v1/images/{image_id}/thumbnail"


def show_image(image: reading.Picture | Image) -> ImageShown:
    return ImageShown(**_facts_of(image))


def _facts_of(image: reading.Picture | Image) -> dict[str, Any]:
    """What is shown of a picture wherever it is shown."""
    return {
        "id": image.id,
        "seed": image.seed,
        "width_px": image.width_px,
        "height_px": image.height_px,
        "url": file_url(image.id),
        "thumbnail_url": thumbnail_url(image.id),
    }


def show_generations(session: Session, rows: Sequence[tuple[Generation, Job, int]]) -> list[GenerationShown]:
    """rows: requests, their jobs, the numbers of their versions."""
    images: dict[UUID, list[ImageShown]] = {generation.id: [] for generation, _, _ in rows}
    for image in reading.images_of(session, list(images)):
        images[image.generation_id].append(show_image(image))
    jobs = show_jobs(session, [job for _, job, _ in rows])
    return [
        GenerationShown(
            id=generation.id,
            history_id=generation.history_id,
            version=number,
            prompt=generation.prompt,
            negative_prompt=generation.negative_prompt,
            seed=generation.seed,
            count=generation.count,
            steps=generation.steps,
            guidance=generation.guidance,
            sampler=generation.sampler,
            width_px=generation.width_px,
            height_px=generation.height_px,
            regions=[RegionOfPicture(**region) for region in generation.regions],
            apart=generation.apart,
            created_at=generation.created_at,
            job=job,
            images=images[generation.id],
        )
        for (generation, _, number), job in zip(rows, jobs, strict=True)
    ]


def show_in_gallery(image: reading.Picture | Image, history_id: UUID, prompt: str, number: int) -> GalleryImage:
    """number: of the version it was asked of."""
    return GalleryImage(
        **_facts_of(image),
        generation_id=image.generation_id,
        history_id=history_id,
        version=number,
        prompt=prompt,
        created_at=image.created_at,
    )
