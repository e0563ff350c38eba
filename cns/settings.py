"""Every number of the method that can be set, with its default and the reason for it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from types import UnionType
from typing import Any, Literal, get_args, get_origin

from cns.errors import CnsError

Ranking = Literal["row", "layer", "global"]
Reach = Literal["everywhere", "token"]
"""Where the values of a concept apply: in every prompt, or at the concept's own token alone."""


def check_kinds(settings: Any) -> None:
    """Raise ValueError for a field of a dataclass whose value is not of its kind, as files and programs may bring it.

    What decides the result must not be taken for something else: a ranking that does not exist would be another one,
    and the word "false" would be true. A number may be a whole one where any is meant, and none is infinite or NaN.
    """
    for one in fields(settings):
        value = getattr(settings, one.name)
        if not _is_of(one.type, value):
            raise ValueError(f"{one.name} is {_say_kind(one.type)}, not {value!r}.")


def _is_of(kind: Any, value: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is UnionType:
        return any(_is_of(one, value) for one in get_args(kind))
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool) and -float("inf") < value < float("inf")
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}


def _say_kind(kind: Any) -> str:
    """ "row, layer or global", "a number or null"."""
    if get_origin(kind) is Literal:
        *others, last = map(str, get_args(kind))
        return f"{', '.join(others)} or {last}"
    if get_origin(kind) is UnionType:
        return " or ".join(map(_say_kind, get_args(kind)))
    return _KINDS.get(kind, "an object of settings")


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
        check_kinds(self)
        if not 0 < self.fraction <= 1:
            raise ValueError(f"The fraction must lie above 0 and up to 1, not at {self.fraction}.")
        if not 0 < self.general_vote <= 1:
            raise ValueError(f"The general vote must lie above 0 and up to 1, not at {self.general_vote}.")
        if self.general_prompts < 0:
            raise ValueError(f"There cannot be {self.general_prompts} calibration prompts.")


@dataclass(frozen=True)
class LearningSettings:
    """How a concept is learned. Everything that decides the result.

    steps, batch: optimiser steps, and rows in each. lr_weights, lr_token: rates of the values and of the token. l1, l2:
    weights of the two terms of the regulariser (Eq. 7). drift, interference: weights of a third and a fourth term,
    which are ours (docs/decisions/0010): the share by which keys and values of general prompts and of the bare class
    noun may move, and the share of what earlier concepts changed that may be undone; 0 and 0 leave the method as it was
    published. warmup_steps: the rates rise over these; they fall to nothing over the last `cooldown` share of the
    steps. resolution_px: None for the base's own. flip: also learn the mirrored pictures (wrong for what has a left and
    a right). crops: how many pieces of each picture are learned beside it (`cns.pictures.cut_pieces`); for bases that
    know things at every size and place, which the storybook does not (docs/decisions/0029). token_first: share of the
    steps in which the token learns by itself; the values join it then, with a warm-up of their own. What the token can
    say it then says, and no value has to (docs/decisions/0018); 0 is the method as it was published. reach: where the
    learned values apply. "everywhere" is the method as it was published: they are part of the weights, and every prompt
    meets them. At "token" only the place of the prompt where the concept's own token stands meets them, over the base's
    own weights, so that learning can change nothing else; drift, interference, l1 and l2 then have nothing to hold
    (docs/decisions/0023). wide_guided: share of the noise levels, from the noisiest on, in which pictures are guided
    that name a concept of the whole picture, as a style or a place; 1 for all of them. Whether a concept is so wide is
    measured when it has been learned, of those at their token (docs/decisions/0025).
    mixed_precision: bfloat16 matrix products in the UNet of a base in float32; one in half precision has its own.
    min_snr_gamma: weighting of the time steps by signal-to-noise ratio (Hang et al. 2023); None for none. time_power:
    time steps are drawn as the schedule's length times u ** time_power: 1 draws them evenly, less draws high noise more
    often, where words decide.

    The rates are starting points for bases of Stable Diffusion's size, from what related methods publish; a base may
    bring its own settings beside its weights (cns/own_settings.py), as the storybook does.
    """

    steps: int = 500
    batch: int = 4
    lr_weights: float = 1e-4
    lr_token: float = 1e-3
    l1: float = 1.0
    l2: float = 0.1
    drift: float = 1.0
    interference: float = 0.1
    seed: int = 0
    warmup_steps: int = 10
    cooldown: float = 0.4
    token_first: float = 0.0
    reach: Reach = "everywhere"
    wide_guided: float = 1.0
    resolution_px: int | None = None
    flip: bool = False
    crops: int = 0
    mixed_precision: bool = True
    gradient_checkpointing: bool = False
    min_snr_gamma: float | None = None
    time_power: float = 1.0
    selection: SelectionSettings = field(default_factory=SelectionSettings)

    def __post_init__(self) -> None:
        if self.reach not in get_args(Reach):
            raise ValueError(f"Values reach {' or '.join(get_args(Reach))}, not {self.reach!r}.")
        check_kinds(self)
        if self.steps < 1 or self.batch < 1:
            raise ValueError("A learning takes at least one step of at least one row.")
        firmness = (self.l1, self.l2, self.drift, self.interference)
        if min(self.lr_weights, self.lr_token, self.warmup_steps, *firmness) < 0:
            raise ValueError(
                "Learning rates, l1, l2, drift, interference and the steps of warming up cannot be negative."
            )
        if self.crops < 0:
            raise ValueError(f"There cannot be {self.crops} pieces of a picture.")
        if not 0 < self.time_power <= 10:
            raise ValueError(f"The power of the time steps lies above 0 and up to 10, not at {self.time_power}.")
        if not 0 <= self.cooldown <= 1:
            raise ValueError(f"The cooldown is a share of the steps, 0 to 1, not {self.cooldown}.")
        if self.resolution_px is not None and self.resolution_px < 1:
            raise ValueError(f"A picture has a side of at least one pixel, not of {self.resolution_px}.")
        if self.min_snr_gamma is not None and self.min_snr_gamma <= 0:
            raise ValueError(f"The gamma of min-SNR lies above 0, not at {self.min_snr_gamma}.")
        if not 0 < self.wide_guided <= 1:
            raise ValueError(f"A share of the noise levels is guided, above 0 and up to 1, not {self.wide_guided}.")
        if not 0 <= self.token_first < 1:
            raise ValueError(f"The token is first for a share of the steps, from 0 to below 1, not {self.token_first}.")

    def to_json(self) -> dict[str, Any]:
        """Plain values, as they are stored with the delta.

        `crops` only where there are any, so that what was learned before there were such is learned to the same bytes.
        """
        plain = asdict(self)
        if not self.crops:
            del plain["crops"]
        return plain


class UnknownSetting(CnsError):
    """A setting that does not exist, or a value it cannot have."""


def change_settings(settings: LearningSettings, changes: Mapping[str, Any]) -> LearningSettings:
    """`settings` with some fields changed; those of the selection lie under "selection". Raises UnknownSetting."""
    own = dict(changes)
    selection = own.pop("selection", {})
    known = {field.name for field in fields(settings)}, {field.name for field in fields(settings.selection)}
    strange = [*(own.keys() - known[0]), *(selection.keys() - known[1])]
    if strange:
        raise UnknownSetting(f"There is no setting {min(strange)!r} of learning.")
    try:
        return replace(settings, **own, selection=replace(settings.selection, **selection))
    except (ValueError, TypeError) as error:
        raise UnknownSetting(f"These settings of learning cannot be used: {error}") from error
