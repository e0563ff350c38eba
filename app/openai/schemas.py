"""What clients of OpenAI's interface send and read: its names, and a few of ours beside them."""

import re
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from app.errors import Invalid

SIZE = re.compile(r"(\d{1,6})x(\d{1,6})")
AUTO = "auto"


class PicturesAsked(BaseModel):
    """A request for pictures. What else clients send, such as `quality`, `style` or `user`, means nothing here.

    model: see `find_model`. n: pictures, 1 where it is left out. size: "512x512", width and height; "auto" or nothing
    for the base's own. response_format: "url" for addresses that want the same key, else the files in base64.
    output_format: a PNG has its recipe inside. output_compression: quality of a JPEG or a WebP. From seed on they are
    names of ours; what is left out is the base's own, and a seed is drawn.
    """

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)
    prompt: str
    model: str | None = None
    n: int | None = Field(None, ge=1)
    size: str | None = None
    response_format: Literal["url", "b64_json"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: int | None = Field(None, ge=0, le=100)
    stream: bool | None = None
    negative_prompt: str | None = None
    seed: int | None = Field(None, ge=0, lt=2**63)
    steps: int | None = Field(None, ge=1)
    guidance_scale: float | None = Field(None, ge=0)
    sampler: str | None = None

    @property
    def count(self) -> int:
        return self.n or 1

    def size_px(self) -> tuple[int | None, int | None]:
        """Width and height; None for the base's own. Invalid for what is neither `auto` nor a size."""
        if self.size in (None, "", AUTO):
            return None, None
        found = SIZE.fullmatch(self.size or "")
        if not found:
            raise Invalid("A size is written as 512x512, or auto.", field="size")
        return int(found[1]), int(found[2])


class PictureMade(BaseModel):
    """One picture: its file in base64, or where it lies."""

    b64_json: str | None = None
    url: str | None = None


class PicturesMade(BaseModel):
    """created: seconds since 1970."""

    created: int
    data: list[PictureMade]
    size: str
    output_format: str


class Model(BaseModel):
    """A history, as a model. created: seconds since 1970."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class Models(BaseModel):
    """All histories of the caller."""

    object: Literal["list"] = "list"
    data: list[Model]
