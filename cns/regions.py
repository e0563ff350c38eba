"""Where in the picture which prompt's K and V apply.

Inside a region, positions attend to the K and V of the region's own prompt; everywhere else to those of the whole
prompt. This is the region-aware cross-attention of Mix-of-Show (Gu et al., arXiv 2305.18292), with shares instead of a
hard mask: at the edge of a box, and where boxes overlap, the answers of several prompts are mixed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cns.errors import CnsError

MOST_REGIONS = 8  # each costs one more attention to text at every layer and step


class RegionRefused(CnsError):
    """A region of a picture was asked for that cannot be."""


@dataclass(frozen=True)
class Region:
    """A box in the picture and what shall be in it.

    left, top, right, bottom: its edges as shares of the picture's width and height, 0..1 from the top left corner.
    Raises RegionRefused for a box outside the picture or without area, or without a prompt.
    """

    prompt: str
    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise RegionRefused("A region needs a prompt of its own: what shall be in it?")
        if not (0 <= self.left < self.right <= 1 and 0 <= self.top < self.bottom <= 1):
            raise RegionRefused(
                "The edges of a region are shares of the picture from 0 to 1, left before right and top above bottom, "
                f"not {self.left}, {self.top}, {self.right}, {self.bottom}."
            )


def check_regions(regions: Sequence[Region]) -> None:
    """Raise RegionRefused for more regions than one picture can have."""
    if len(regions) > MOST_REGIONS:
        raise RegionRefused(f"A picture has at most {MOST_REGIONS} regions, not {len(regions)}.")


def coverage(region: Region, height: int, width: int) -> Tensor:
    """The share of each position's own area that the region covers: (height, width) float32 in 0..1.

    Exact at every resolution: a region has the same area at each, and is not lost where it is smaller than a position.
    """
    down = _overlap(region.top, region.bottom, height)  # (height,)
    across = _overlap(region.left, region.right, width)  # (width,)
    return (down[:, None] * across[None, :]).float()


def _overlap(begin: float, end: float, cells: int) -> Tensor:
    """How much of each of `cells` equal parts of 0..1 lies between begin and end: (cells,) float64 in 0..1."""
    starts = torch.arange(cells, dtype=torch.float64)
    return (torch.clamp(starts + 1, max=end * cells) - torch.clamp(starts, min=begin * cells)).clamp(0, 1)


def region_weights(regions: Sequence[Region], height: int, width: int) -> Tensor:
    """How much each prompt has to say at each position: (1 + regions, height, width) float32, summing to 1.

    First the whole prompt's share, which is what no region covers; then the regions', in order. Where they cover a
    position more than once, they share it in proportion to their coverage.
    """
    covered = torch.stack([coverage(region, height, width) for region in regions])  # (regions, height, width)
    total = covered.sum(dim=0)  # (height, width)
    shares = covered / total.clamp(min=1)
    return torch.cat([(1 - total).clamp(min=0)[None], shares])


def level_size(positions: int, height: int, width: int) -> tuple[int, int]:
    """Height and width of the UNet's level that has so many positions; each level halves both sides of the latents."""
    down, across = height, width
    while down * across > positions:
        down, across = (down + 1) // 2, (across + 1) // 2  # as a convolution of stride 2 does with an odd side
    if down * across != positions:
        raise ValueError(f"No level of latents {height} x {width} has {positions} positions.")
    return down, across


@dataclass(frozen=True)
class RegionalKV:
    """What the regions of one row of a batch bring to attention.

    kv: cross-attention layer -> K and V of the regions' prompts, (regions, tokens, out) each.
    height, width: of the latents.
    """

    regions: tuple[Region, ...]
    kv: Mapping[str, tuple[Tensor, Tensor]]
    height: int
    width: int
    _weights: dict[int, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def weights(self, like: Tensor) -> Tensor:
        """Shares at the level of `like` (..., positions, width): (1 + regions, positions, 1), of its type and place."""
        positions = like.shape[-2]
        if positions not in self._weights:
            made = region_weights(self.regions, *level_size(positions, self.height, self.width))
            self._weights[positions] = made.flatten(1)[:, :, None].to(like)
        return self._weights[positions]


RegionsOfRows = Mapping[int, RegionalKV]
"""Row of a batch -> its regions. Rows that are not in it have none."""


def mix_regions(whole: Tensor, answers: Sequence[Tensor], rows: RegionsOfRows) -> Tensor:
    """What a batch's attention answers, with the regions' answers in their places.

    whole    (batch, positions, width) attention to each row's whole prompt
    answers  for each entry of `rows`, in order: (regions, positions, width) attention to its regions' prompts
    returns  (batch, positions, width); rows without regions are as they were, to the bit
    """
    mixed = whole.clone()
    for (row, regional), answer in zip(rows.items(), answers, strict=True):
        shares = regional.weights(whole)  # (1 + regions, positions, 1)
        mixed[row] = shares[0] * whole[row] + (shares[1:] * answer).sum(dim=0)
    return mixed
