"""How long until a job is done, from what is asked of the device and how it is shared. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class Work:
    """What an open job still takes of the device when it has it to itself.

    learns: whether it goes in learning's share or in generating's. before: the order among its owner's own jobs of its
    share, the lowest first. seconds: of the device.
    """

    job_id: UUID
    owner_id: UUID
    learns: bool
    before: tuple[float, int]
    seconds: float


def seconds_until_done(mine: Work, asked: Sequence[Work], learning_share: float, devices: int = 1) -> float:
    """When `mine` will be done, in seconds from now, if nothing else is asked for meanwhile.

    asked: all open work, `mine` too. Owners take turns, so by the time that all of the owner's work up to `mine` is
    done, each other owner got as much of the device as that, or all they wanted. Generating and learning have their
    shares while both have something to do; when one of them has no more, the other gets everything.
    """
    same = [work for work in asked if work.learns == mine.learns]
    own = sum(work.seconds for work in same if work.owner_id == mine.owner_id and work.before <= mine.before)
    wanted: dict[UUID, float] = {}
    for work in same:
        if work.owner_id != mine.owner_id:
            wanted[work.owner_id] = wanted.get(work.owner_id, 0.0) + work.seconds
    alone = own + sum(min(seconds, own) for seconds in wanted.values())
    beside = sum(work.seconds for work in asked if work.learns != mine.learns)
    share = learning_share if mine.learns else 1 - learning_share
    return min(alone / share, alone + beside) / max(1, devices)
