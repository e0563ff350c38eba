"""Mixed tenants: as many requests as tenants, each for a version of its own, beside one version and beside adapters."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from benchmarks.bars import Bar, at_least
from benchmarks.markdown import make_table
from benchmarks.performance.record import Told
from benchmarks.serving.ours import Ours, rows_of
from benchmarks.serving.peers import (
    CopiedKeysAndValues,
    Draw,
    HotSwappedLora,
    LoadedKeysAndValues,
    LoraTenants,
    draw_plain,
)
from benchmarks.serving.peft_batch import MixedLoraBatch
from benchmarks.serving.tenants import PROMPT, each_tenant, random_delta, random_lora, random_weights
from benchmarks.timing import alternate, medians, times_as_long
from cns.base_model import BaseModel
from cns.compose import Version, compose
from cns.denoise import GenerationRequest

OURS, ONE, ANEW = "many versions", "one version", "many versions, composed anew"
PEERS = {
    "set_adapters": "(b) diffusers, LoRA by `set_adapters`",
    "load_attn_procs": "(c) diffusers, Custom Diffusion loaded by `load_attn_procs`",
    "copied": "(c) the same weights copied into the UNet",
    "hotswap": "(d) diffusers, LoRA hot-swapped",
    "hotswap, compiled": "(d) the same with `torch.compile`",
    "one mixed batch": "(e) peft's `adapter_names`: all tenants in one batch that begins and ends together",
    "base alone": "diffusers, the base alone: no tenant at all",
}
NOT_ASKED_FOR = ("one mixed batch", "base alone")
"""Measured to know, without a bar: no program serves the first, and the second serves no tenant."""
AT_LEAST_OF_ONE = 0.95
AT_LEAST_OF_PEERS = {"cpu": 2.0, "cuda": 5.0}


@dataclass(frozen=True)
class Plan:
    """limits: pictures that may share a UNet call. compiled: whether (d) is measured with torch.compile as well."""

    tenants: int = 16
    limits: tuple[int, ...] = (1, 4, 8, 16)
    steps: int = 25
    guidance: float = 4.0
    rounds: int = 5
    compiled: bool = True


QUICK = Plan(steps=4, rounds=1, compiled=False)


def measure(base: BaseModel, plan: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """Seconds that each way takes for one request of every tenant, in every round."""
    deltas = [random_delta(base, f"tenant{number}", number) for number in range(plan.tenants)]
    versions = [compose(base, [delta]) for delta in deltas]
    ours = _our_ways(base, plan, versions)
    peers = _open_peers(base, plan)
    say("warming up")
    for way in ours.values():
        way(_asked(plan))  # as a whole: how many rows go together is learned from steps
    for way in peers.values():
        way(replace(_asked(plan), steps=1))
    problem = _compile(base, plan, peers, say) if plan.compiled else None
    say(f"{plan.rounds} rounds of {len(ours) + len(peers)} ways")
    ways = {name: partial(way, _asked(plan)) for name, way in {**ours, **peers}.items()}
    seconds = alternate(ways, plan.rounds, base.device)
    return {"device": base.device.type, "side_px": base.native_px, "seconds": seconds, "not_compiled": problem}


Way = Callable[[GenerationRequest], object]


def _asked(plan: Plan) -> GenerationRequest:
    return GenerationRequest(PROMPT, steps=plan.steps, guidance=plan.guidance)


def _our_ways(base: BaseModel, plan: Plan, versions: Sequence[Version]) -> dict[str, Way]:
    """Every version composed before, one version for all, and at the largest limit every one composed for its request.

    A tenant's prompt has their own token, a peer's has none: that leaves the peers' tokenizers alone.
    """

    def serve(chosen: Sequence[Callable[[], Version]], words: Sequence[str], ours: Ours, asked: Any) -> object:
        requests = [
            replace(one, prompt=one.prompt.replace("a dog", f"a {word} dog"))
            for one, word in zip(each_tenant(plan.tenants, asked), words, strict=True)
        ]
        return ours.paint(chosen, requests)

    tokens = [version.deltas[-1].token for version in versions]
    kept = [lambda version=version: version for version in versions]
    anew = [lambda version=version: compose(base, version.deltas) for version in versions]
    first = ([kept[0]] * plan.tenants, [tokens[0]] * plan.tenants)
    ways: dict[str, Way] = {}
    for limit in plan.limits:
        ours = Ours(base, limit * rows_of(_asked(plan)))
        ways[f"{OURS}, at most {limit}"] = partial(serve, kept, tokens, ours)
        ways[f"{ONE}, at most {limit}"] = partial(serve, *first, ours)
    ways[ANEW] = partial(serve, anew, tokens, Ours(base, max(plan.limits) * rows_of(_asked(plan))))
    return ways


def _open_peers(base: BaseModel, plan: Plan) -> dict[str, Way]:
    loras = [random_lora(base, number) for number in range(plan.tenants)]
    weights = [random_weights(base, number) for number in range(plan.tenants)]
    draws = {
        "set_adapters": LoraTenants(base, loras).draw,
        "load_attn_procs": LoadedKeysAndValues(base, weights).draw,
        "copied": CopiedKeysAndValues(base, weights).draw,
        "hotswap": HotSwappedLora(base, loras).draw,
        "base alone": draw_plain(base),
    }
    ways: dict[str, Way] = {name: partial(_one_by_one, draw, plan.tenants) for name, draw in draws.items()}
    together = MixedLoraBatch(base, loras)
    ways["one mixed batch"] = lambda asked: together.draw(range(plan.tenants), each_tenant(plan.tenants, asked))
    return ways


def _one_by_one(draw: Draw, tenants: int, asked: GenerationRequest) -> None:
    for tenant, request in enumerate(each_tenant(tenants, asked)):
        draw(tenant, request)


def _compile(base: BaseModel, plan: Plan, peers: dict[str, Way], say: Callable[[str], None]) -> str | None:
    """Add the compiled peer, warmed up; where this machine cannot compile, say why instead."""
    say("compiling")
    draw = HotSwappedLora(base, [random_lora(base, number) for number in range(plan.tenants)], compiled=True).draw
    way = partial(_one_by_one, draw, plan.tenants)
    try:
        way(replace(_asked(plan), steps=1))
    except Exception as error:  # whatever compilers raise; it is told on the page, and the others are measured
        return f"{type(error).__name__}: {error}".splitlines()[0][:200]
    peers["hotswap, compiled"] = way
    return None


# --- in words -------------------------------------------------------------------------------------------------------


def report(figures: Mapping[str, Any], plan: Mapping[str, Any]) -> Told:
    """What mixing tenants costs, and how far the peers are behind."""
    seconds, limit = medians(figures["seconds"]), max(plan["limits"])
    best = seconds[f"{OURS}, at most {limit}"]
    pictures = plan["tenants"]
    sentences = [
        f"{pictures} requests of {pictures} versions take {best:.2f} s when {limit} may share a step, "
        f"{1000 * best / pictures / plan['steps']:.1f} ms for each step of a request; the same of one version take "
        f"{seconds[f'{ONE}, at most {limit}']:.2f} s, and composing every version anew for its request "
        f"{seconds[ANEW]:.2f} s. diffusers takes {seconds['base alone']:.2f} s for as many pictures of the bare base, "
        "with no tenant's weights put in: what it loses beyond that goes into adapters.",
        f"Sharing steps alone makes ours {_gain(figures['seconds'], plan):.2f} times as fast here: that is how much "
        "more the device does at once, and by how much one request at a time can be beaten.",
    ]
    if "one mixed batch" in seconds:
        near = times_as_long(figures["seconds"], "one mixed batch", f"{OURS}, at most {limit}")
        sentences.append(
            f"A batch of all tenants' LoRAs by peft's `adapter_names` takes {near:.2f} times as long as ours; it has "
            "to begin and end together, which a server's requests do not."
        )
    if "hotswap, compiled" in seconds:
        pays = times_as_long(figures["seconds"], "hotswap", "hotswap, compiled")
        sentences.append(f"torch.compile makes the hot-swapped LoRA {pays:.2f} times as fast, after its warm-up.")
    if figures.get("not_compiled"):
        sentences.append(f"torch.compile does not work on this machine ({figures['not_compiled']}).")
    return Told(
        tuple(sentences),
        (_our_table(figures["seconds"], plan), _peer_table(figures["seconds"], plan)),
        tuple(_bars(figures, plan)),
    )


def _bars(figures: Mapping[str, Any], plan: Mapping[str, Any]) -> list[Bar]:
    taken, ours = figures["seconds"], f"{OURS}, at most {max(plan['limits'])}"
    goal = AT_LEAST_OF_PEERS.get(figures["device"], 1.0)
    bars = [
        at_least(
            f"speed of many versions as a share of one version's, at most {limit} together",
            times_as_long(taken, f"{ONE}, at most {limit}", f"{OURS}, at most {limit}"),
            AT_LEAST_OF_ONE,
        )
        for limit in plan["limits"]
    ]
    bars += [
        at_least(f"times as fast as {said}", times_as_long(taken, name, ours), goal)
        for name, said in PEERS.items()
        if name in taken and name not in NOT_ASKED_FOR
    ]
    return bars


def _gain(taken: Mapping[str, Sequence[float]], plan: Mapping[str, Any]) -> float:
    """How many times as fast the most requests together are as the fewest."""
    fewest, most = (f"{OURS}, at most {choose(plan['limits'])}" for choose in (min, max))
    return times_as_long(taken, fewest, most)


def _our_table(taken: Mapping[str, Sequence[float]], plan: Mapping[str, Any]) -> str:
    seconds, steps, rows = medians(taken), plan["tenants"] * plan["steps"], []
    for limit in plan["limits"]:
        many, one = f"{OURS}, at most {limit}", f"{ONE}, at most {limit}"
        share = times_as_long(taken, one, many)
        rows.append((str(limit), seconds[many], seconds[one], share, 1000 * seconds[many] / steps))
    heads = ("requests together at most", "many versions, s", "one version, s", "share", "ms a step of a request")
    return make_table(heads, rows)


def _peer_table(taken: Mapping[str, Sequence[float]], plan: Mapping[str, Any]) -> str:
    seconds, ours = medians(taken), f"{OURS}, at most {max(plan['limits'])}"
    rows = [
        (said, seconds[name], times_as_long(taken, name, ours), times_as_long(taken, name, ANEW))
        for name, said in PEERS.items()
        if name in taken
    ]
    return make_table(("one request after another", "s", "times ours", "times ours, composed anew"), rows)
