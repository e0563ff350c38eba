"""One device of the fleet: its jobs advance together, the faster the fewer they are."""

from dataclasses import dataclass, field

from benchmarks.fleet.assumed import Speed

DONE = 1e-9  # steps and seconds that are left by rounding alone


@dataclass
class Job:
    """left: denoising steps, or seconds of a device by itself for a learning. at: the device that has it."""

    number: int
    user: int
    is_learning: bool
    asked_at: float
    whole: float
    left: float = 0.0
    begun_at: float | None = None


@dataclass
class Device:
    """moment: up to when its jobs have been advanced. turn: counts changes, so that older plans for it are void."""

    number: int
    speed: Speed
    pictures_a_job: int
    is_up: bool = True
    moment: float = 0.0
    turn: int = 0
    busy_s: float = 0.0
    generations: list[Job] = field(default_factory=list)
    learnings: list[Job] = field(default_factory=list)

    @property
    def pictures(self) -> int:
        return len(self.generations) * self.pictures_a_job

    def has_room(self, is_learning: bool) -> bool:
        if not self.is_up:
            return False
        if is_learning:
            return len(self.learnings) < self.speed.learnings
        return not self.generations or self.pictures + self.pictures_a_job <= self.speed.batch

    def advance(self, until: float) -> None:
        """All jobs get what the time since `moment` was worth."""
        passed, self.moment = until - self.moment, until
        if self.generations or self.learnings:
            self.busy_s += passed
        for jobs, rate in ((self.generations, self._steps_per_s()), (self.learnings, self._learning_per_s())):
            for job in jobs:
                job.left -= passed * rate

    def next_end(self) -> float | None:
        """When the first of its jobs will be done, if nothing else happens."""
        ends = [
            self.moment + max(0.0, min(job.left for job in jobs)) / rate
            for jobs, rate in ((self.generations, self._steps_per_s()), (self.learnings, self._learning_per_s()))
            if jobs
        ]
        return min(ends, default=None)

    def take_done(self) -> list[Job]:
        done = [job for job in (*self.generations, *self.learnings) if job.left <= DONE]
        self.generations = [job for job in self.generations if job.left > DONE]
        self.learnings = [job for job in self.learnings if job.left > DONE]
        return done

    def _steps_per_s(self) -> float:
        """Of each; 0 without any."""
        if not self.generations:
            return 0.0
        share = 1.0 - self.speed.share if self.learnings else 1.0
        return share / self.speed.step_s(self.pictures)

    def _learning_per_s(self) -> float:
        """Of each. That several together are faster than one after another is not counted on."""
        return (self.speed.share if self.generations else 1.0) / max(1, len(self.learnings))
