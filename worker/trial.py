"""Whether a compiled step is used, by what was measured of both ways. Pure: told numbers, it answers with a way."""

from dataclasses import dataclass, field
from enum import StrEnum

TRIES = 3  # steps of each way, of which the shortest counts: whatever else the machine does can only add time
PAYS = 0.97  # of the eager step's time, at most: less of a gain is within what measurements differ by


class Way(StrEnum):
    """How a step is taken."""

    EAGER = "eager"
    COMPILED = "compiled"
    BOTH = "both"  # to compare the answers; the eager one is used


@dataclass
class Trial:
    """Of steps with one form and one number of rows: first both ways at once, then in turns, then the faster one.

    The steps that it measures are those of people's pictures, on the thread and beside the work that they always have,
    so trying costs one step and gives the figures that count. Until the answers were compared none of the compiled
    step's is used.
    """

    seconds: dict[Way, list[float]] = field(default_factory=lambda: {Way.EAGER: [], Way.COMPILED: []})
    agrees: bool | None = None

    @property
    def verdict(self) -> Way | None:
        """The way to take from now on; None while it is being tried."""
        if self.agrees is False:
            return Way.EAGER
        share = self.share
        if not self.agrees or share is None:
            return None
        return Way.COMPILED if share <= PAYS else Way.EAGER

    @property
    def share(self) -> float | None:
        """The compiled step's time as a share of the eager one's, as soon as both were measured often enough."""
        eager, compiled = self.seconds[Way.EAGER], self.seconds[Way.COMPILED]
        return min(compiled) / min(eager) if min(len(eager), len(compiled)) >= TRIES else None

    def choose(self) -> Way:
        """How to take the next step."""
        if self.agrees is None:
            return Way.BOTH
        turn = Way.EAGER if len(self.seconds[Way.EAGER]) <= len(self.seconds[Way.COMPILED]) else Way.COMPILED
        return self.verdict or turn

    def compare(self, agrees: bool) -> None:
        """Note whether both ways gave the same answer, within what rounding makes of it."""
        self.agrees = agrees

    def note(self, way: Way, seconds: float) -> None:
        """Note how long a step took that way."""
        self.seconds[way].append(seconds)
