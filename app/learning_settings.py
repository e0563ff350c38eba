"""What may be set about a learning, with the same names, ranges and meanings as in the method's library.

The service imports nothing of the library, which needs torch. A test holds that both know the same names. A field that
is not given is the base model's own default.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class SelectionChanges(BaseModel):
    """How the concept's neurons are chosen."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    fraction: float | None = Field(None, gt=0, le=1, description="Share of entries that count as a prompt's own.")
    ranking: Literal["row", "layer", "global"] | None = Field(None, description="Ranked within what.")
    norm_tokens: Literal["own", "all"] | None = Field(None, description="The prompt's own tokens only, or all.")
    general_prompts: int | None = Field(None, ge=0, le=40, description="Calibration prompts; 0 for none.")
    general_vote: float | None = Field(
        None, gt=0, le=1, description="Share of the calibration prompts that make an entry a general one."
    )
    base_prompts: Literal["all", "first"] | None = Field(None, description="What all captions select, or the first.")


class LearningChanges(BaseModel):
    """How a concept is learned, where it shall differ from the base model's defaults."""

    model_config = ConfigDict(
        extra="forbid", allow_inf_nan=False, json_schema_extra={"example": {"steps": 200, "seed": 7}}
    )

    steps: int | None = Field(None, ge=1, le=20_000, description="Optimiser steps.")
    batch: int | None = Field(None, ge=1, le=64, description="Rows in each step.")
    lr_weights: float | None = Field(None, ge=0, le=1, description="Learning rate of the selected values.")
    lr_token: float | None = Field(None, ge=0, le=1, description="Learning rate of the concept's token.")
    l1: float | None = Field(None, ge=0, description="How firmly what was learned before is kept.")
    l2: float | None = Field(None, ge=0, description="How firmly the base's values are kept where concepts overlap.")
    drift: float | None = Field(None, ge=0, description="How firmly general prompts are kept as they are.")
    interference: float | None = Field(None, ge=0, description="How firmly what earlier concepts changed is kept.")
    seed: int | None = Field(None, ge=0, lt=2**63, description="The same seed gives the same version.")
    warmup_steps: int | None = Field(None, ge=0, description="Steps over which the rates rise.")
    cooldown: float | None = Field(None, ge=0, le=1, description="Share of the steps over which they fall.")
    token_first: float | None = Field(
        None, ge=0, lt=1, description="Share of the steps in which the token learns by itself, before the values join."
    )
    reach: Literal["everywhere", "token"] | None = Field(
        None,
        description="Where the values apply: in every prompt, as part of the weights, or at the concept's token alone.",
    )
    wide_guided: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of the noise levels, from the noisiest on, in which pictures of a style or a place are "
        "guided; 1 for all. Which concepts are so wide is measured, of those at their token.",
    )
    resolution_px: int | None = Field(None, ge=32, le=2048, description="Side of the pictures, in pixels.")
    flip: bool | None = Field(None, description="Learn the mirrored pictures too.")
    crops: int | None = Field(None, ge=0, le=8, description="Pieces of each picture that are learned beside it.")
    mixed_precision: bool | None = Field(None, description="bfloat16 matrix products.")
    gradient_checkpointing: bool | None = Field(None, description="Less memory, more time.")
    min_snr_gamma: float | None = Field(None, gt=0, description="Weighting of time steps by signal-to-noise ratio.")
    time_power: float | None = Field(
        None,
        gt=0,
        le=10,
        description="1 draws time steps evenly; less draws high noise more often, where words decide.",
    )
    selection: SelectionChanges | None = None

    def given(self) -> dict[str, Any]:
        """The fields that were set, as plain values."""
        return self.model_dump(exclude_none=True)
