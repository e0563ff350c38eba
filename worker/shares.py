"""Whose turn it is on the device, so that over time learning and generating each get their share of it."""

from collections.abc import Collection
from enum import StrEnum


class Lane(StrEnum):
    """What the device is used for."""

    GENERATING = "generating"
    LEARNING = "learning"


class Shares:
    """A clock for each lane that runs at the time used, divided by the lane's share; whoever is behind goes next.

    learning: the share that learning gets while pictures are waiting too. Whoever waits alone gets everything, and a
    lane that had nothing to do has saved nothing up: it joins where the other one stands.
    """

    def __init__(self, learning: float):
        if not 0 < learning < 1:
            raise ValueError(f"The share of learning must lie between 0 and 1, not at {learning}.")
        self._share = {Lane.GENERATING: 1 - learning, Lane.LEARNING: learning}
        self._clock = dict.fromkeys(Lane, 0.0)
        self._waited: set[Lane] = set()  # when last asked
        self.used_s = dict.fromkeys(Lane, 0.0)

    def charge(self, lane: Lane, seconds: float) -> None:
        """Note that `lane` had the device for so long."""
        self.used_s[lane] += seconds
        self._clock[lane] += seconds / self._share[lane]

    def choose(self, waiting: Collection[Lane]) -> Lane:
        """The lane to go next among those that wait; between equals it is generating, as somebody is looking on."""
        for lane in waiting:
            if lane not in self._waited:
                self._clock[lane] = max(self._clock[lane], *(self._clock[other] for other in self._waited or waiting))
        self._waited = set(waiting)
        return min(sorted(waiting), key=self._clock.__getitem__)
