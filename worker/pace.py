"""How long things take here, lately."""

from dataclasses import dataclass


@dataclass
class Pace:
    """A mean in which the last ones count most. seconds: None until there was one."""

    seconds: float | None = None

    def note(self, seconds: float) -> None:
        self.seconds = seconds if self.seconds is None else 0.9 * self.seconds + 0.1 * seconds
