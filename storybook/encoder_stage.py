"""Stage five: the judge. Pairs of one individual at two places are pulled together, individuals of the same noun
pushed apart; read-outs name the rest.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from storybook.attributes import HEADS, UNKNOWN, label_scenes
from storybook.encoder import IndividualsEncoder, save_encoder
from storybook.individuals import INDIVIDUALS, scene_of
from storybook.muon import muon_for
from storybook.pools import draw_pool, one_scene, to_pixels
from storybook.training import (
    Clock,
    Log,
    MovingAverage,
    autocast,
    begin,
    module_state,
    record_stage,
    save_state,
)
from storybook.world import Scene, draw, place_one, random_scene, random_thing

INDIVIDUALS_IN_GROUP = 4
VIEWS = 2
TEMPERATURE = 0.1
GROUPS, OTHERS = 16, 96  # of a batch
BATCH = GROUPS * INDIVIDUALS_IN_GROUP * VIEWS + OTHERS


def individuals_group(rng: np.random.Generator) -> list[Scene]:
    """Four random things of one noun, each seen twice: the first views, then the second views."""
    first = random_thing(rng, plain_look=0.25)
    things = [first]
    while len(things) < INDIVIDUALS_IN_GROUP:
        things.append(replace(random_thing(rng, plain_look=0.25), noun=first.noun))
    scenes = []
    for _ in range(VIEWS):
        for thing in things:
            scenes.append(replace(random_scene(rng, two=0.0), placed=(place_one(rng, thing),), relation=None))
    return scenes


def identity_loss(first: Tensor, second: Tensor) -> Tensor:
    """Each first view must find its own second view among all: (n, d), (n, d) -> scalar."""
    logits = normalize(first.float()) @ normalize(second.float()).T / TEMPERATURE
    target = torch.arange(len(first), device=first.device)
    return (cross_entropy(logits, target) + cross_entropy(logits.T, target)) / 2


def naming_loss(logits: dict[str, Tensor], labels: Tensor) -> Tensor:
    losses = []
    for column, values in enumerate(logits.values()):
        known = labels[:, column] != UNKNOWN
        if known.any():
            losses.append(cross_entropy(values.float()[known], labels[known, column]))
    return torch.stack(losses).mean()


@torch.no_grad()
def measure(encoder: IndividualsEncoder, device: torch.device, seed: int = 77) -> dict[str, float]:
    """Accuracy of every read-out on 1,000 fresh scenes, and retrieval of the named individuals among each other."""
    rng = np.random.default_rng(seed)
    scenes = [random_scene(rng) for _ in range(1000)]
    labels = label_scenes(scenes)
    pixels = to_pixels(torch.from_numpy(np.stack([draw(scene) for scene in scenes])), device)
    named = torch.cat([encoder.name(part) for part in pixels.split(250)]).cpu()
    facts: dict[str, float] = {}
    for column, name in enumerate(HEADS):
        known = labels[:, column] != UNKNOWN
        facts[f"{name}_accuracy"] = round(float((named[known, column] == labels[known, column]).float().mean()), 4)
    views = [np.stack([draw(scene_of(who, rng)) for who in INDIVIDUALS for _ in range(4)]) for _ in range(2)]
    first, second = (encoder.identify(to_pixels(torch.from_numpy(view), device)).cpu() for view in views)
    owner = torch.arange(len(INDIVIDUALS)).repeat_interleave(4)
    nearest = (first @ second.T).argmax(1)
    facts["individual_retrieval"] = round(float((owner[nearest] == owner).float().mean()), 4)
    same = owner[:, None] == owner[None, :]
    similarity = first @ second.T
    facts["similarity_same"] = round(float(similarity[same].mean()), 4)
    facts["similarity_other"] = round(float(similarity[~same].mean()), 4)
    return facts


def run(folder: Path, checkpoints: Path, minutes: float, device: torch.device, log: Log, pool_groups: int) -> None:
    """Train, log, and write `folder`/individuals_encoder."""
    torch.manual_seed(6)
    encoder = IndividualsEncoder().to(device)
    rate = 1.5e-3
    optimizer = muon_for(encoder, rate, outer=("trunk.0.", "heads"))
    average = MovingAverage(encoder, 0.998)
    state_file = checkpoints / "encoder.safetensors"
    step = begin(state_file, folder / "individuals_encoder" / "model.safetensors", encoder, optimizer, average)["steps"]
    groups, group_pictures = draw_pool(individuals_group, pool_groups, seed=6000 + step)
    group_labels = label_scenes(groups)
    singles, single_pictures = draw_pool(one_scene, pool_groups * 4, seed=6500 + step)
    single_labels = label_scenes(singles)
    size = INDIVIDUALS_IN_GROUP * VIEWS
    log(f"encoder: {len(groups) + len(singles)} scenes drawn, going on from step {step}")
    clock = Clock(minutes)
    generator = torch.Generator().manual_seed(8 + step)
    while not clock.over:
        chosen = torch.randperm(pool_groups, generator=generator)[:GROUPS]
        rows = (chosen[:, None] * size + torch.arange(size)).flatten()
        others = torch.randint(len(singles), (OTHERS,), generator=generator)
        pixels = to_pixels(torch.cat([group_pictures[rows], single_pictures[others]]), device)
        labels = torch.cat([group_labels[rows], single_labels[others]]).to(device)
        pixels = pixels + 0.06 * torch.rand(1, generator=generator).item() * torch.randn_like(pixels)
        for group in optimizer.param_groups:
            group["lr"] = rate * clock.rate(step, 100)
        with autocast(device):
            embedding, logits = encoder(pixels)
        views = embedding[: len(rows)].view(len(chosen), VIEWS, INDIVIDUALS_IN_GROUP, -1)
        identity = identity_loss(views[:, 0].flatten(0, 1), views[:, 1].flatten(0, 1))
        naming = naming_loss(logits, labels)
        (identity + 2 * naming).backward()
        nn.utils.clip_grad_norm_(encoder.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        average.update(encoder)
        step += 1
        if step % 50 == 0:
            log(
                f"encoder step {step} share {clock.share:.2f} identity {identity.item():.3f} naming {naming.item():.3f}"
            )
    save_state(state_file, module_state(encoder, optimizer, average), {"steps": step, "samples": step * BATCH})
    record_stage(folder, "encoder", steps=step, samples=step * BATCH, minutes=clock.minutes, device=device.type)
    average.write_into(encoder)
    facts = dict(measure(encoder.eval(), device))
    log(f"encoder done: step {step} {facts}")
    save_encoder(encoder, folder / "individuals_encoder", {str(k): float(str(v)) for k, v in facts.items()})
