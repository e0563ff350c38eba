"""Forgetting a concept at once: the deltas of a history that goes on without it. Pure: nothing given is changed.

Values are stored, not differences, so leaving a delta out already gives every entry that only it owned the value from
before it. What is left to decide are the entries that a later concept learned on top of it. With w the value there, u
the one before the forgotten concept and v the one it learned, such an entry becomes

    w + share * (u - v)

in every later delta that holds it: `kept` leaves w alone (share 0), `rebased` keeps only what the later concept itself
changed (share 1), `blended` lies in the middle. docs/unlearning.md has what each of them costs.

Values that reach their token alone stand on the base's own and on nobody else's: they share nothing, and leaving one
such delta out leaves nothing of it.

Values that later concepts own alone stay, although they were learned while the forgotten concept was there. Only
learning them again leaves nothing of it: see `cns.forgetting`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import torch
from torch import Tensor

from cns.base_model import BaseModel
from cns.compose import compose
from cns.delta import Delta
from cns.errors import CnsError, DeltaError

FORGOTTEN = "forgotten"
"""Key of a delta's report: what was done to it, once for each concept that was forgotten below it."""


class NothingToForget(CnsError):
    """The line of versions does not know the concept that is to be forgotten."""


class Option(StrEnum):
    """What becomes of an entry that a later concept learned on top of the forgotten one."""

    KEPT = "kept"
    BLENDED = "blended"
    REBASED = "rebased"

    @property
    def share(self) -> float:
        """How much of what the forgotten concept had changed there is taken away, 0 to 1."""
        return {"kept": 0.0, "blended": 0.5, "rebased": 1.0}[self.value]


DEFAULT_OPTION = Option.KEPT


@dataclass(frozen=True)
class Unlearned:
    """A line of deltas without a concept.

    before: the deltas it was learned upon, as they were. after: those learned on top of it, with new digests and the
    same concepts in the same order. returned: how many entries have the value from before it again. shared: how many
    are held by a later concept too, and became what `option` says.
    """

    forgotten: Delta
    before: tuple[Delta, ...]
    after: tuple[Delta, ...]
    option: Option
    returned: int
    shared: int

    @property
    def deltas(self) -> tuple[Delta, ...]:
        return (*self.before, *self.after)


def forget(base: BaseModel, deltas: Sequence[Delta], name: str, option: Option = DEFAULT_OPTION) -> Unlearned:
    """The line that `deltas`, in order of learning, make without the concept `name`.

    The later deltas keep their tokens, settings and captions; their parents are those of the new line, and their
    reports say what was done. Raises NothingToForget for a concept that is not among them, and what
    `cns.compose.compose` raises for deltas that do not fit the base.
    """
    place = place_of(deltas, name)
    before, forgotten = tuple(deltas[:place]), deltas[place]
    shift = _shift(base, before, forgotten, option.share)
    parent = before[-1].digest if before else None
    after: list[Delta] = []
    for delta in deltas[place + 1 :]:
        after.append(_without(delta, forgotten, shift, option, parent))
        parent = after[-1].digest
    shared = _count_shared(forgotten, after)
    return Unlearned(forgotten, before, tuple(after), option, forgotten.size - shared, shared)


def place_of(deltas: Sequence[Delta], name: str) -> int:
    """Where in the line a concept was learned, from 0. Raises NothingToForget with what the line does know."""
    names = [delta.concept for delta in deltas]
    if name not in names:
        known = ", ".join(f"<{one}>" for one in names) or "no concept at all"
        raise NothingToForget(
            f"This line of versions does not know <{name}>, so it cannot forget it; it knows {known}."
        )
    return names.index(name)


def _shift(base: BaseModel, before: Sequence[Delta], forgotten: Delta, share: float) -> Mapping[str, Tensor]:
    """Layer -> (n,) float32 on the CPU, what is added at each position of `forgotten`: share * (u - v)."""
    weights = compose(base, before).weights
    shift: dict[str, Tensor] = {}
    if forgotten.reach == "token":
        return shift
    for layer, where in forgotten.positions.items():
        earlier = weights[layer].detach().flatten()[where.to(weights[layer].device)].float().cpu()
        shift[layer] = share * (earlier - forgotten.values[layer].float().cpu())
    return shift


def _without(delta: Delta, forgotten: Delta, shift: Mapping[str, Tensor], option: Option, parent: str | None) -> Delta:
    """A later delta as it stands in the new line."""
    values = dict(delta.values)
    shared = 0
    for layer in _layers_of_both(forgotten, delta):
        theirs, mine = delta.positions[layer], forgotten.positions[layer]
        both = torch.isin(theirs, mine)
        shared += int(both.sum())
        if option.share:
            moved = values[layer].float()
            moved[both] += shift[layer][torch.searchsorted(mine, theirs[both])]  # positions are ascending
            values[layer] = moved.half()
            if not bool(torch.isfinite(values[layer]).all()):
                raise DeltaError(f"{delta.concept!r} cannot do without {forgotten.concept!r}: a value left all bounds.")
    done = {"option": option.value, "share": option.share, "shared": shared}
    report: dict[str, Any] = {**delta.report, FORGOTTEN: [*delta.report.get(FORGOTTEN, ()), done]}
    return replace(delta, parent=parent, values=values, report=report)


def _count_shared(forgotten: Delta, later: Sequence[Delta]) -> int:
    """How many entries of `forgotten` any later delta holds."""
    count = 0
    for layer, where in forgotten.positions.items():
        held = [delta.positions[layer] for delta in later if layer in _layers_of_both(forgotten, delta)]
        count += int(torch.isin(where, torch.cat(held)).sum()) if held else 0
    return count


def _layers_of_both(forgotten: Delta, later: Delta) -> set[str]:
    """Layers in which both may hold the same entries of the weights."""
    if "token" in (forgotten.reach, later.reach):
        return set()
    return forgotten.positions.keys() & later.positions.keys()
