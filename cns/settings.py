"""Every number of the method that can be set, with its default and the reason for it."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Ranking = Literal["row", "layer", "global"]


@dataclass(frozen=True)
class SelectionSettings:
    """How a concept's neurons are chosen.

    fraction: share of entries that count as a prompt's own (the paper's 30 %). ranking: within each output row, within
    each layer, or over all layers. norm_tokens: the prompt's own tokens only, or all positions (start and padding are
    the same in every prompt and drown the rest). general_prompts: how many calibration prompts (the paper's K = 20); 0
    for no general neurons. general_vote: share of them that must have an entry for it to be general; with all of them
    too much is left to the concept (docs/decisions/0007). base_prompts: entries that all of the concept's captions
    select, or those of the first caption alone.
    """

    fraction: float = 0.3
    ranking: Ranking = "row"
    norm_tokens: Literal["own", "all"] = "own"
    general_prompts: int = 20
    general_vote: float = 0.5
    base_prompts: Literal["all", "first"] = "all"

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise ValueError(f"The fraction must lie above 0 and up to 1, not at {self.fraction}.")
        if not 0 < self.general_vote <= 1:
            raise ValueError(f"The general vote must lie above 0 and up to 1, not at {self.general_vote}.")
        if self.general_prompts < 0:
            raise ValueError(f"There cannot be {self.general_prompts} calibration prompts.")


@dataclass(frozen=True)
class LearningSettings:
    """How a concept is learned. Everything that decides the result.

    steps, batch: optimiser steps, and rows in each. lr_weights, lr_token: rates of the values and of the token.
    l1, l2: weights of the two terms of the regulariser (Eq. 7). warmup_steps: the rates rise over these; they fall to
    nothing over the last `cooldown` share of the steps. resolution_px: None for the base's own. flip: also learn the
    mirrored pictures (wrong for what has a left and a right). mixed_precision: bfloat16 matrix products in the UNet.
    min_snr_gamma: weighting of the time steps by signal-to-noise ratio (Hang et al. 2023); None for none.
    """

    steps: int = 200
    batch: int = 16
    lr_weights: float = 4e-3
    lr_token: float = 1e-2
    l1: float = 1.0
    l2: float = 0.1
    seed: int = 0
    warmup_steps: int = 10
    cooldown: float = 0.4
    resolution_px: int | None = None
    flip: bool = False
    mixed_precision: bool = True
    gradient_checkpointing: bool = False
    min_snr_gamma: float | None = None
    selection: SelectionSettings = field(default_factory=SelectionSettings)

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1:
            raise ValueError("A learning takes at least one step of at least one row.")
        if min(self.lr_weights, self.lr_token, self.l1, self.l2, self.warmup_steps) < 0:
            raise ValueError("Learning rates, l1, l2 and the steps of warming up cannot be negative.")
        if not 0 <= self.cooldown <= 1:
            raise ValueError(f"The cooldown is a share of the steps, 0 to 1, not {self.cooldown}.")

    def to_json(self) -> dict[str, Any]:
        """Plain values, as they are stored with the delta."""
        return asdict(self)
