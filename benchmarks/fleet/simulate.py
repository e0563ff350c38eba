"""The fleet as a queue: jobs arrive, wait for a device with room, advance with what shares it, and survive its failure.

Everything random comes from one seed; time is simulated, so that equal inputs give equal figures on any machine.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from benchmarks.fleet.assumed import DAY_S, Demand, Failures, Speed
from benchmarks.fleet.device import Device, Job

WARM_UP = 0.2  # of the time is not counted: the fleet begins with nothing to do


@dataclass(frozen=True)
class Outcome:
    """Waits: seconds from being asked for to being begun. busy: share of the time that a device works on average.

    warm: share of generations begun where their user was served last. taken_back: jobs that a failing device had.
    """

    generations: int
    learnings: int
    wait_p50_s: float
    wait_p95_s: float
    answer_p95_s: float
    learning_wait_p95_s: float
    learning_p95_s: float
    busy: float
    warm: float
    taken_back: int
    in_queue: int


@dataclass(frozen=True)
class Done:
    job: Job
    ended_at: float
    was_warm: bool

    @property
    def waited_s(self) -> float:
        return (self.ended_at if self.job.begun_at is None else self.job.begun_at) - self.job.asked_at


def simulate(
    users: int, devices: int, demand: Demand, speed: Speed, failures: Failures, *, hours: float, seed: int
) -> Outcome:
    """The busiest hour, `hours` long, of so many people on so many devices."""
    return _Fleet(users, devices, demand, speed, failures, hours * 3600, seed).run()


class _Fleet:
    def __init__(
        self, users: int, devices: int, demand: Demand, speed: Speed, failures: Failures, until: float, seed: int
    ):
        self.users, self.demand, self.speed, self.failures, self.until = users, demand, speed, failures, until
        self.random = Random(seed)
        self.devices = [Device(number, speed, demand.pictures) for number in range(devices)]
        self.queues: dict[bool, deque[Job]] = {False: deque(), True: deque()}
        self.last_at: dict[int, int] = {}
        self.begun_warm: dict[int, bool] = {}
        self.done: list[Done] = []
        self.taken_back = 0
        self.numbers = itertools.count()
        self.order = itertools.count()  # of events at the same moment
        self.events: list[tuple[float, int, Callable[[float], None]]] = []

    def run(self) -> Outcome:
        for is_learning in (False, True):
            self._plan_arrival(0.0, is_learning)
        for device in self.devices:
            self._plan_failure(0.0, device)
        while self.events and self.events[0][0] <= self.until:
            at, _, happen = heapq.heappop(self.events)
            happen(at)
        for device in self.devices:
            device.advance(self.until)
        return self._outcome()

    def _at(self, moment: float, happen: Callable[[float], None]) -> None:
        heapq.heappush(self.events, (moment, next(self.order), happen))

    # --- people -----------------------------------------------------------------------------------------------------

    def _plan_arrival(self, now: float, is_learning: bool) -> None:
        demand = self.demand
        rate = demand.learnings_per_s(self.users) if is_learning else demand.generations_per_s(self.users)
        if rate > 0:
            self._at(now + self.random.expovariate(rate), lambda at: self._arrive(at, is_learning))

    def _arrive(self, now: float, is_learning: bool) -> None:
        self._plan_arrival(now, is_learning)
        demand = self.demand
        whole = demand.learning_steps * self.speed.learning_step_s if is_learning else float(demand.steps)
        user = self.random.randrange(self.users)
        self._offer(now, Job(next(self.numbers), user, is_learning, now, whole, whole))

    # --- devices ----------------------------------------------------------------------------------------------------

    def _offer(self, now: float, job: Job) -> None:
        device = self._choose(job)
        if device is None:
            self.queues[job.is_learning].append(job)
        else:
            self._begin(now, job, device)

    def _choose(self, job: Job) -> Device | None:
        """Where the user was served last, if there is room; else where the fewest are."""
        last = self.last_at.get(job.user)
        if last is not None and not job.is_learning and self.devices[last].has_room(False):
            return self.devices[last]
        open_ones = [device for device in self.devices if device.has_room(job.is_learning)]
        if not open_ones:
            return None
        return min(open_ones, key=lambda one: (len(one.learnings) if job.is_learning else one.pictures, one.busy_s))

    def _begin(self, now: float, job: Job, device: Device) -> None:
        device.advance(now)
        is_warm = self.last_at.get(job.user) == device.number
        if job.begun_at is None:
            job.begun_at = now
            self.begun_warm[job.number] = is_warm
        if not job.is_learning and not is_warm:
            job.left += self.speed.cold_s / self.speed.step_s(self.demand.pictures)
        (device.learnings if job.is_learning else device.generations).append(job)
        self.last_at[job.user] = device.number
        self._plan_end(device)

    def _plan_end(self, device: Device) -> None:
        device.turn += 1
        turn, end = device.turn, device.next_end()
        if end is not None:
            self._at(end, lambda at: self._end(at, device, turn))

    def _end(self, now: float, device: Device, turn: int) -> None:
        if turn != device.turn:
            return  # something joined or left since; there is a newer plan
        device.advance(now)
        self.done += [Done(job, now, self.begun_warm.get(job.number, False)) for job in device.take_done()]
        self._plan_end(device)
        self._take_waiting(now, device)

    def _take_waiting(self, now: float, device: Device) -> None:
        for is_learning, queue in self.queues.items():
            while queue and device.has_room(is_learning):
                self._begin(now, queue.popleft(), device)

    # --- failures ---------------------------------------------------------------------------------------------------

    def _plan_failure(self, now: float, device: Device) -> None:
        self._at(
            now + self.random.expovariate(1 / (self.failures.days_between * DAY_S)),
            lambda at: self._fail(at, device),
        )

    def _fail(self, now: float, device: Device) -> None:
        device.advance(now)
        held = [*device.generations, *device.learnings]
        device.generations, device.learnings, device.is_up = [], [], False
        device.turn += 1
        self.taken_back += len(held)
        for job in held:
            # A learning goes on from its checkpoint, a generation begins anew.
            job.left = min(job.whole, job.left + self.failures.checkpoint_s) if job.is_learning else job.whole
            self._at(now + self.failures.lease_s, lambda at, job=job: self._offer(at, job))  # type: ignore[misc]
        self._at(now + self.failures.restart_s, lambda at: self._come_back(at, device))

    def _come_back(self, now: float, device: Device) -> None:
        device.moment, device.is_up = now, True
        self._plan_failure(now, device)
        self._take_waiting(now, device)

    # --- figures ----------------------------------------------------------------------------------------------------

    def _outcome(self) -> Outcome:
        """What still waits at the end counts with what it has waited so far, or an overloaded fleet would look well."""
        since = self.until * WARM_UP
        ended = [one for one in self.done if one.job.asked_at >= since]
        made = [one for one in ended if not one.job.is_learning]
        waits = {
            is_learning: [
                *(one.waited_s for one in ended if one.job.is_learning is is_learning),
                *(self.until - job.asked_at for job in self.queues[is_learning] if job.asked_at >= since),
            ]
            for is_learning in (False, True)
        }
        learned = [one.ended_at - one.job.asked_at for one in ended if one.job.is_learning]
        return Outcome(
            generations=len(made),
            learnings=len(learned),
            wait_p50_s=at_share(waits[False], 0.5),
            wait_p95_s=at_share(waits[False], 0.95),
            answer_p95_s=at_share([one.ended_at - one.job.asked_at for one in made], 0.95),
            learning_wait_p95_s=at_share(waits[True], 0.95),
            learning_p95_s=at_share(learned, 0.95),
            busy=sum(device.busy_s for device in self.devices) / (len(self.devices) * self.until),
            warm=sum(one.was_warm for one in made) / max(1, len(made)),
            taken_back=self.taken_back,
            in_queue=sum(len(queue) for queue in self.queues.values()),
        )


def at_share(values: list[float], share: float) -> float:
    """The value that `share` (0..1) of them do not exceed; 0 for none."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered), -int(-share * len(ordered) // 1)) - 1)] if ordered else 0.0
