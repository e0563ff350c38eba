"""Measure the base against its bars and write them into the model card: `python -m storybook.evaluate`.

Pictures are made by the stock diffusers pipeline from fixed seeds, so that the figures are those of the shipped
weights under ordinary use. What a picture shows is read by the judge (`encoder`), whose own accuracy on real renders
stands beside each figure.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from storybook import MODEL_FOLDER
from storybook.attributes import HEADS, UNKNOWN, label_scenes
from storybook.clip_stage import noun_accuracy, retrieval_accuracy
from storybook.encoder import IndividualsEncoder, load_encoder
from storybook.model_card import write_card
from storybook.pipeline import generate_pictures, load_pipeline
from storybook.pools import stack_pictures, to_pixels
from storybook.sheets import contact_sheet
from storybook.vae_stage import decibels
from storybook.world import Scene, caption, draw, random_scene

BARS = {
    "autoencoder_db": 28.0,
    "noun": 0.90,
    "colour": 0.90,
    "background": 0.95,
    "pattern": 0.80,
    "two_objects": 0.70,
    "clip_retrieval_256": 0.60,
    "clip_noun": 0.95,
}


def captioned_scenes(count: int, seed: int) -> tuple[list[Scene], list[str]]:
    """Fresh scenes without uncaptioned extras, each with a caption that names everything: single things and pairs in
    turn.
    """
    rng = np.random.default_rng(seed)
    scenes: list[Scene] = []
    texts: list[str] = []
    while len(scenes) < count:
        scene = random_scene(rng, two=0.0 if len(scenes) % 2 == 0 else 1.0)
        if any(placed.thing.look is not None for placed in scene.placed):
            continue
        text = caption(scene, rng)
        if _names_everything(text, scene):
            scenes.append(scene)
            texts.append(text)
    return scenes, texts


def _names_everything(text: str, scene: Scene) -> bool:
    """True where the caption leaves nothing open that is judged."""
    named = scene.background in text
    for placed in scene.placed:
        thing = placed.thing
        named = named and thing.colour is not None and f"{thing.colour} " in text
        named = named and (thing.second is None or f"{thing.second} " in text)
    return named


def judge_pictures(
    encoder: IndividualsEncoder, pictures: Sequence[np.ndarray], scenes: list[Scene]
) -> dict[str, float]:
    """Shares of pictures that show what was asked for, by the judge."""
    pixels = to_pixels(stack_pictures(pictures))
    named = torch.cat([encoder.name(part) for part in pixels.split(128)])
    labels = label_scenes(scenes)
    right = (named == labels) | (labels == UNKNOWN)
    column = {name: index for index, name in enumerate(HEADS)}
    single = torch.tensor([len(scene.placed) == 1 for scene in scenes])

    def share(rows: Tensor, *names: str) -> float:
        return round(float(right[rows][:, [column[name] for name in names]].all(dim=1).float().mean()), 4)

    patterned = single & torch.tensor([scene.placed[0].thing.second is not None for scene in scenes])
    return {
        "noun": share(single, "left_noun"),
        "colour": share(single, "left_colour"),
        "background": share(torch.ones_like(single), "background"),
        "pattern": share(single, "left_pattern"),
        "pattern_when_named": share(patterned, "left_pattern", "left_second") if patterned.any() else float("nan"),
        "two_objects": share(~single, "left_noun", "left_colour", "right_noun", "right_colour"),
        "two_nouns": share(~single, "left_noun", "right_noun"),
    }


@torch.no_grad()
def autoencoder_db(pipeline: StableDiffusionPipeline, seed: int = 55, count: int = 256) -> float:
    """Decibels of real renders through the shipped autoencoder."""
    rng = np.random.default_rng(seed)
    pixels = to_pixels(stack_pictures([draw(random_scene(rng)) for _ in range(count)]))
    made = torch.cat([pipeline.vae.decode(pipeline.vae.encode(p).latent_dist.mode()).sample for p in pixels.split(64)])
    return round(decibels(made, pixels), 2)


def measure_base(folder: Path, count: int, seed: int = 2026) -> tuple[dict[str, float], list[np.ndarray], list[str]]:
    """All figures of the bars, and the pictures they were measured on."""
    pipeline = load_pipeline(folder)
    encoder, facts = load_encoder(folder / "individuals_encoder")
    scenes, texts = captioned_scenes(count, seed)
    pictures = generate_pictures(pipeline, texts, seed)
    real = judge_pictures(encoder, [draw(scene) for scene in scenes], scenes)
    clip = CLIPModel.from_pretrained(folder / "clip", dtype=torch.float32).eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder / "clip")
    figures = judge_pictures(encoder, pictures, scenes)
    figures |= {f"{name}_on_real_renders": value for name, value in real.items()}
    figures |= {f"judge_{name}": value for name, value in facts.items()}
    figures["autoencoder_db"] = autoencoder_db(pipeline)
    figures["clip_noun"] = round(noun_accuracy(clip, tokenizer), 4)
    figures["clip_retrieval_256"] = round(retrieval_accuracy(clip, tokenizer), 4)
    figures["prompts"] = count
    return figures, pictures, texts


def count_parameters(folder: Path) -> dict[str, int]:
    """Folder of each part -> numbers in its weights."""
    counts: dict[str, int] = {}
    for file in sorted(folder.rglob("*.safetensors")):
        with safe_open(file, framework="pt") as weights:
            shapes = [weights.get_slice(key).get_shape() for key in weights.offset_keys()]
            counts[file.parent.name] = sum(int(np.prod(shape)) for shape in shapes)
    return counts


def describe_training(folder: Path) -> str:
    """One line a stage from the training record that the stages keep beside the weights."""
    record = json.loads((folder / "training.json").read_text())
    lines = ["| stage | steps | samples | minutes | device |", "|---|---|---|---|---|"]
    for stage, facts in record.items():
        lines.append(
            f"| {stage} | {facts['steps']:,} | {facts['samples']:,} | {facts['minutes']:.0f} | {facts['device']} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=MODEL_FOLDER)
    parser.add_argument("--prompts", type=int, default=500)
    parser.add_argument(
        "--out", type=Path, default=None, help="where the figures and the sheet go; default: the folder"
    )
    options = parser.parse_args()
    out: Path = options.out or options.folder
    out.mkdir(parents=True, exist_ok=True)
    figures, pictures, texts = measure_base(options.folder, options.prompts)
    bars = [
        {"name": name, "value": figures[name], "goal": goal, "holds": figures[name] >= goal}
        for name, goal in BARS.items()
    ]
    (out / "evaluation.json").write_text(json.dumps({"bars": bars, "figures": figures}, indent=1) + "\n")
    contact_sheet(pictures[:48], columns=8, zoom=3).save(out / "sheet.png")
    (out / "sheet.txt").write_text("\n".join(texts[:48]) + "\n")
    parts = count_parameters(options.folder)
    megabytes = sum(file.stat().st_size for file in options.folder.rglob("*.safetensors")) / 1e6
    (out / "README.md").write_text(write_card(bars, figures, parts, megabytes, describe_training(options.folder)))
    for bar in bars:
        sys.stdout.write(
            f"{bar['name']:>20} {bar['value']:.3f}  goal {bar['goal']}  {'holds' if bar['holds'] else 'MISSED'}\n"
        )
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
