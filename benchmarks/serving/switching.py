"""Switching: from a request for another version to where its first denoising step can begin, with ever more versions.

The prompt's text features, and keys and values, have to be computed for any request, also for one of the version that
was used last; they are measured beside the switch and are no part of it.
"""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from benchmarks.bars import Bar, at_least, at_most
from benchmarks.markdown import make_table
from benchmarks.performance.record import Told
from benchmarks.serving.ours import Ours, rows_of
from benchmarks.serving.peers import HotSwappedLora, LoraTenants
from benchmarks.serving.tenants import PROMPT, random_delta, random_lora
from benchmarks.serving.versions import Known
from benchmarks.timing import take_time
from cns.base_model import BaseModel
from cns.compose import compose
from cns.denoise import GenerationRequest, GenerationRun

STATES = {"ready": "ready", "memory": "in memory"}
"""Warm states, which were asked for; a third, on disk alone, is measured beside them."""
MOST_OF_GENERATION, NEAREST_PEER = 0.01, 10.0
READY_AT_MOST = 100  # a worker's memory is bounded too
FLAT = 1.5
"""The largest against the smallest number of versions: on a shared machine two equal times differ by less."""


@dataclass(frozen=True)
class Plan:
    """counts: numbers of versions, or adapters, known. tries: switches timed of each kind at each count in a round.

    adapters: the most that the peers are given: each takes longer to load than the one before.
    """

    counts: tuple[int, ...] = (1, 10, 100, 1000)
    tries: int = 5
    adapters: int = 100
    rounds: int = 3
    steps: int = 25
    guidance: float = 4.0


QUICK = Plan(counts=(1, 10), tries=2, rounds=1, steps=4)


def measure(base: BaseModel, plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of single switches by count, way and state, and of what a request takes anyhow."""
    asked = GenerationRequest(PROMPT, steps=plan.steps, guidance=plan.guidance)
    with tempfile.TemporaryDirectory() as scratch:
        house = _House(base, Path(scratch))
        seconds = {}
        for count in plan.counts:
            say(f"{count} versions known")
            house.grow(count, plan.adapters)
            rounds = [house.switch_all(count, plan.tries) for _ in range(plan.rounds)]
            seconds[str(count)] = {name: [s for one in rounds for s in one[name]] for name in rounds[0]}
    version = compose(base)
    ours = Ours(base, rows_of(asked))
    ours.paint([lambda: version], [asked])
    anyhow = [take_time(lambda: GenerationRun(base, version, asked), base.device) for _ in range(plan.rounds * 5)]
    whole = [take_time(lambda: ours.paint([lambda: version], [asked]), base.device) for _ in range(plan.rounds)]
    return {"switches": seconds, "text_and_kv": anyhow, "generation": whole}


class _House:
    """Ours and the peers with as many versions each. The last one known is the one to be switched to and back from."""

    def __init__(self, base: BaseModel, folder: Path):
        self.base, self.folder = base, folder
        self.known, self.count = Known(base, folder), 0
        self.loras = LoraTenants(base)
        self.swapped: HotSwappedLora | None = None
        self._files: list[dict[str, Tensor]] = []

    def grow(self, count: int, adapters: int) -> None:
        """Make ours know `count` versions, as large as real ones, and theirs as many, up to `adapters`.

        Some READY_AT_MOST of ours are ready.
        """
        for number in range(self.count, count):
            self.known.store(number, random_delta(self.base, f"v{number}", number))
            if number % max(1, count // READY_AT_MOST) == 0:
                self.known.get(number)
            if number >= adapters:
                continue
            lora = random_lora(self.base, number)
            save_file(lora, self._path(number))
            self.loras.add(lora)
            if len(self._files) < 2:  # two to swap between: how many more there are makes no difference to swapping
                self._files.append(lora)
        self.count = count
        self.swapped = self.swapped or HotSwappedLora(self.base, self._files)

    def switch_all(self, count: int, tries: int) -> dict[str, list[float]]:
        """Seconds of every kind of switch, `tries` of each, in turns; of the peers while they have as many adapters."""
        last, device = count - 1, self.base.device
        found: dict[str, list[float]] = {}

        def note(name: str, work: Callable[[], object]) -> None:
            found.setdefault(name, []).append(take_time(work, device))

        for _ in range(tries):
            self.known.forget(last)
            note("ours, disk", lambda: self.known.get(last))
            self.known.forget_weights(last)
            note("ours, memory", lambda: self.known.get(last))
            note("ours, ready", lambda: self.known.get(last))
            if self.loras.count < count:
                continue
            self.loras.remove(last)
            note("set_adapters, disk", lambda: self._load(last, load_file(self._path(last))))
            lora = load_file(self._path(last))
            self.loras.remove(last)
            note("set_adapters, memory", lambda: self._load(last, lora))  # noqa: B023 - called at once
            self.loras.switch(0)
            note("set_adapters, ready", lambda: self.loras.switch(last))
            if self.swapped is not None:
                swapped = self.swapped
                note("hotswap, disk", lambda: swapped.swap(load_file(self._path(last))))  # noqa: B023
                note("hotswap, memory", lambda: swapped.swap(lora))  # noqa: B023
        return found

    def _load(self, number: int, lora: Mapping[str, Tensor]) -> None:
        self.loras.load(number, lora)
        self.loras.switch(number)

    def _path(self, number: int) -> Path:
        return self.folder / f"lora{number}.safetensors"


# --- in words -------------------------------------------------------------------------------------------------------


def report(figures: Mapping[str, Any], plan: Mapping[str, Any]) -> Told:
    """What a switch costs in each state, how that grows, and how far the nearest peer is."""
    found = {
        int(count): {name: median(seconds) for name, seconds in by_name.items()}
        for count, by_name in figures["switches"].items()
    }
    whole, anyhow = median(figures["generation"]), median(figures["text_and_kv"])
    most, first = found[max(found)], found[min(found)]
    sentences = [
        f"With {max(found)} versions known, switching to one that is ready takes {1e6 * most['ours, ready']:.0f} us, "
        f"to one whose delta is in memory {1000 * most['ours, memory']:.2f} ms, and from disk "
        f"{1000 * most['ours, disk']:.2f} ms; a generation of {plan['steps']} steps takes {1000 * whole:.0f} ms, "
        f"{1000 * anyhow:.1f} ms of which are the prompt's text features, keys and values, which any request needs."
    ]
    rows = [
        (name, *(1000 * found[count][name] if name in found[count] else "" for count in sorted(found)))
        for name in sorted(first, key=lambda name: not name.startswith("ours"))
    ]
    peers = [count for count in sorted(found) if "set_adapters, memory" in found[count]]
    if len(peers) > 1:
        loading = found[peers[-1]]["set_adapters, memory"] / found[peers[0]]["set_adapters, memory"]
        sentences.append(
            f"Loading an adapter beside {peers[-1] - 1} others takes {loading:.1f} times as long as beside "
            f"{peers[0] - 1}{'; the peers were given no more' if peers[-1] < max(found) else ''}."
        )
    heads = ("switch, ms", *(f"{count} known" for count in sorted(found)))
    return Told(tuple(sentences), (make_table(heads, rows),), tuple(_bars(found, whole)))


def _bars(found: Mapping[int, Mapping[str, float]], whole: float) -> list[Bar]:
    fewest, most = found[min(found)], found[max(found)]
    bars = []
    for state, said in STATES.items():
        worst = max(by_name[f"ours, {state}"] for by_name in found.values())
        bars.append(at_most(f"switching to a version {said}, share of a generation", worst / whole, MOST_OF_GENERATION))
        grown = most[f"ours, {state}"] / fewest[f"ours, {state}"]
        bars.append(at_most(f"switching to a version {said}, most known against fewest", grown, FLAT))
        name = f"times as fast as the nearest peer, {said}, at the worst count"
        bars.append(at_least(name, _nearest(found, state), NEAREST_PEER))
    return bars


def _nearest(found: Mapping[int, Mapping[str, float]], state: str) -> float:
    return min(
        seconds / by_name[f"ours, {state}"]
        for by_name in found.values()
        for name, seconds in by_name.items()
        if name.endswith(f", {state}") and not name.startswith("ours")
    )
