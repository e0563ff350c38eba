"""Experiment 8: other architectures. Densities at the size of Stable Diffusion 1.5, SDXL's shape, a transformer."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.bars import at_most
from benchmarks.experiments.masks import mean_overlap
from benchmarks.experiments.measuring import Workshop
from benchmarks.experiments.record import Report, percent
from benchmarks.experiments.shapes import build_small_sdxl
from benchmarks.experiments.static_text import compare_with_written, text_moves
from benchmarks.experiments.subjects import individual
from benchmarks.experiments.transformer import measure_pixart, measure_sd3
from benchmarks.markdown import make_table
from benchmarks.sd15_shape import PROMPTS, build_random_sd15
from benchmarks.svg import Bar as Column
from benchmarks.svg import bar_chart
from cns.base_model import BaseModel, load_base
from cns.components import quiet
from cns.compose import compose
from cns.delta import Delta
from cns.denoise import GenerationRequest, generate
from cns.learning import Concept, LearningRun
from cns.phrases import load_calibration_prompts
from cns.selection import prompt_masks, select_concept_neurons
from cns.settings import LearningSettings, SelectionSettings

PAPER_SHARE = 0.0013
"""Of all parameters of the model that a concept changes, by the paper."""
EXACT = 1e-4
CAPTIONS = tuple(
    f"a photo of a <mine> dog {place}" for place in ("on the grass", "at night", "on a beach", "in the snow")
)


def measure(workshop: Workshop) -> dict[str, Any]:
    """Figures of each shape. Weights are random: what is measured is arithmetic, and nothing about pictures."""
    with tempfile.TemporaryDirectory() as scratch, quiet():
        large = {} if workshop.quick else measure_sd15(build_random_sd15(Path(scratch) / "sd15"))
        sdxl = measure_sdxl(build_small_sdxl(Path(scratch) / "sdxl"))
    return {"sd15": large, "sdxl": sdxl, "pixart": measure_pixart(), "sd3": measure_sd3()}


def measure_sd15(folder: Path) -> dict[str, Any]:
    """Densities of the three masks on the whole architecture, and which share of all parameters a concept changes."""
    base = load_base(folder, dtype=torch.float16)
    parameters = sum(
        parameter.numel() for part in (base.unet, base.vae, *base.text_encoders) for parameter in part.parameters()
    )
    found = {}
    weights = {name: weight.float() for name, weight in base.kv_weights.items()}
    nn.Module.float(base.text_encoders[0])
    captions = base.text_features(CAPTIONS, {"<mine>": base.token_vectors("dog")})
    general = base.text_features(load_calibration_prompts()[:20])
    for vote in (0.5, 0.85, 1.0):
        masks = select_concept_neurons(weights, captions, general, SelectionSettings(general_vote=vote))
        found[str(vote)] = masks.densities()
    entries = sum(weight.numel() for weight in weights.values())
    overlaps = mean_overlap(list(prompt_masks(weights, base.text_features(PROMPTS), SelectionSettings())))
    return {
        "kv_entries": entries,
        "parameters": parameters,
        "densities_by_vote": found,
        "share_of_parameters_by_vote": {vote: one["concept"] * entries / parameters for vote, one in found.items()},
        "prompt_overlap": overlaps,
    }


def measure_sdxl(folder: Path, steps: int = 4) -> dict[str, Any]:
    """The whole way on two text encoders: captions, selection, learning, a delta's file, composing, pictures."""
    base = load_base(folder)
    before = base.checksum()
    captions = tuple(CAPTIONS[place % len(CAPTIONS)] for place in range(5))
    concept = Concept("mine", "dog", individual("tiger").pictures, captions)
    settings = LearningSettings(steps=steps, batch=2, lr_weights=1e-2, mixed_precision=False)
    run = LearningRun(base, compose(base), concept, settings)
    while not run.done:
        run.step()
    delta = Delta.from_bytes(run.finish().to_bytes(), base_id=base.id)
    version = compose(base, [delta])
    request = GenerationRequest("a photo of a <mine> dog on the grass", seed=1, steps=4, sampler="euler")
    pictures = [generate(base, which, [request])[0] for which in (version, version, compose(base, [delta]))]
    return {
        "text_encoders": len(base.text_encoders),
        "context_width": next(iter(base.kv_weights.values())).shape[1],
        "kv_entries": sum(weight.numel() for weight in base.kv_weights.values()),
        "densities": run.densities,
        "steps": steps,
        "losses": [round(loss, 4) for loss in run.losses],
        "values_moved": sum(int((weight != base.kv_weights[layer]).sum()) for layer, weight in version.weights.items()),
        "values": delta.size,
        "picture_px": pictures[0].shape[-1],
        "pictures_equal": bool(all(torch.equal(pictures[0], other) for other in pictures)),
        "base_unchanged": base.checksum() == before,
        **compare_with_written(base, version, CAPTIONS[0]),
        "text_moves": text_moves_in(base, CAPTIONS[1].replace("<mine> ", "")),
    }


def text_moves_in(base: BaseModel, prompt: str) -> float:
    """`text_moves` of a base's own UNet."""
    features = base.text_features([prompt])
    added = base.added_conditions(features.pooled, base.native_px, base.native_px)
    config = base.unet.config
    return text_moves(
        lambda latents, times: base.unet(
            latents, times, encoder_hidden_states=features.hidden, added_cond_kwargs=added
        ),
        [base.unet.get_submodule(layer) for layer in base.kv_weights],
        (1, config.in_channels, config.sample_size, config.sample_size),
    )


# --- in words -------------------------------------------------------------------------------------------------------


def report(figures: Mapping[str, Any]) -> Report:
    """Where the method's parts hold as they stand, and where they do not."""
    sdxl, pixart, sd3 = figures["sdxl"], figures["pixart"], figures["sd3"]
    bars = [
        at_most(f"difference of handed K/V from written weights, {name}", one["handed_against_written"], EXACT)
        for name, one in (("SDXL-shaped", sdxl), ("transformer", pixart))
    ]
    sentences = [_about_sd15(figures["sd15"]), _about_sdxl(sdxl), _about_transformers(pixart, sd3)]
    return Report(
        "Other architectures, with random weights",
        tuple(sentence for sentence in sentences if sentence),
        _table(figures),
        _picture(figures),
        tuple(bars),
    )


def _about_sd15(figures: Mapping[str, Any]) -> str:
    if not figures:
        return ""
    shares = figures["share_of_parameters_by_vote"]
    nearest = min(shares, key=lambda vote: abs(shares[vote] - PAPER_SHARE))
    return (
        f"At the size of Stable Diffusion 1.5 ({figures['parameters'] / 1e6:.0f} M parameters, "
        f"{figures['kv_entries'] / 1e6:.1f} M in K/V; random weights, so this is arithmetic alone) a concept changes "
        + ", ".join(f"{percent(share, 2)} of all parameters with a vote of {vote}" for vote, share in shares.items())
        + f"; the paper's {percent(PAPER_SHARE, 2)} is nearest to the vote of {nearest}."
    )


def _about_sdxl(figures: Mapping[str, Any]) -> str:
    sound = figures["pictures_equal"] and figures["base_unchanged"] and figures["handed_against_written"] <= EXACT
    return (
        f"On SDXL's shape ({figures['text_encoders']} text encoders, {figures['context_width']} numbers a word) "
        f"{figures['steps']} steps of learning moved {figures['values_moved']} of the {figures['values']} selected "
        "values, and "
        + ("the whole way holds" if sound else "something does NOT hold")
        + f": the same version gives {'the same' if figures['pictures_equal'] else 'other'} bytes, the base is "
        f"{'as it was' if figures['base_unchanged'] else 'changed'}, and handing K and V in differs from written "
        f"weights by {figures['handed_against_written']:.1e}, where the delta itself moves the output by "
        f"{percent(figures['written_against_untouched'], 1)}."
    )


def _about_transformers(pixart: Mapping[str, Any], sd3: Mapping[str, Any]) -> str:
    holds = pixart["handed_against_written"] <= EXACT and pixart["text_moves"] == 0
    moves = percent(sd3["text_moves"])
    return (
        "On a transformer with cross-attention (PixArt's shape) the same functions "
        + ("hold" if holds else "do NOT hold")
        + f": handed and written differ by {pixart['handed_against_written']:.1e}, where the delta itself moves the "
        f"output by {percent(pixart['written_against_untouched'], 1)}. With joint attention (Stable Diffusion 3) "
        + (
            f"keys and values of one prompt move by {moves} with picture and time step, so that they cannot be handed "
            "in once for all steps: the method as it is built here ends there."
            if sd3["text_moves"] > EXACT
            else f"keys and values of a prompt stay as they are too ({moves})."
        )
    )


def _table(figures: Mapping[str, Any]) -> str:
    def row(name: str, one: Mapping[str, Any], masks: Mapping[str, float] | None) -> list[str | float]:
        shares = [masks[kind] if masks else "" for kind in ("base", "general", "concept")]
        return [name, one["kv_entries"], *shares, one.get("handed_against_written", ""), one.get("text_moves", "")]

    rows = [
        row(f"Stable Diffusion 1.5, vote {vote}", figures["sd15"], masks)
        for vote, masks in figures["sd15"].get("densities_by_vote", {}).items()
    ]
    rows += [row("SDXL-shaped", figures["sdxl"], figures["sdxl"]["densities"])]
    rows += [row("PixArt-shaped", figures["pixart"], figures["pixart"]["densities"])]
    rows += [row("Stable Diffusion 3-shaped", figures["sd3"], None)]
    heads = ("random weights", "K/V entries", "M_base", "M_general", "M_concept", "handed - written", "K/V move")
    table = make_table(heads, rows)
    if figures["sd15"]:
        shared = figures["sd15"]["prompt_overlap"]
        table += f"\n\nTwo prompts share {percent(shared)} of their selected entries on Stable Diffusion 1.5's shape."
    return table


def _picture(figures: Mapping[str, Any]) -> str:
    densities = {f"SD 1.5, vote {vote}": one for vote, one in figures["sd15"].get("densities_by_vote", {}).items()}
    densities |= {"SDXL-shaped": figures["sdxl"]["densities"], "PixArt-shaped": figures["pixart"]["densities"]}
    return bar_chart(
        [
            Column(f"{shape}: M_{kind}", one[kind], colour=place)
            for shape, one in densities.items()
            for place, kind in enumerate(("base", "general", "concept"))
        ],
        title="Share of K/V entries in the three masks, random weights",
        x_label="share of K/V entries",
    )
