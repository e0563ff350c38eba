"""The model card of the shipped base, written from measured figures and never by hand."""

from collections.abc import Mapping, Sequence

_MEANING = {
    "autoencoder_db": "autoencoder, real renders there and back (dB)",
    "noun": "one thing: the noun asked for",
    "colour": "one thing: the colour asked for",
    "background": "the place asked for",
    "pattern": "one thing: the pattern asked for",
    "two_objects": "two things: both nouns, each with its own colour",
    "clip_retrieval_256": "CLIP: own caption first among 256",
    "clip_noun": "CLIP: noun of a real render among twelve",
}

_HEAD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---
# Storybook, the embedded base of Palimpsest

A small, honestly trained latent text-to-image diffusion model of one drawn world: twelve nouns, ten colours, three
patterns, eight places, one or two
things to a picture, 64 px. It exists so that the whole system can be installed, tried and tested without a network or
a GPU. It knows nothing else: a
prompt from outside its world gives a picture from inside it.

![48 of the pictures the figures were measured on, in the order of sheet.txt](sheet.png)
"""

_PARTS = """
## Parts
| folder | what it is | parameters |
|---|---|---|
{parts}

The layout is that of a diffusers `StableDiffusionPipeline`, so that any tool that loads one loads this. `clip/` is
the whole CLIP whose text tower is the
text encoder; it judges and captions. `individuals_encoder/` is a separate small network that tells individuals apart;
nothing is trained against it.
All weights are half-precision safetensors, {megabytes:.1f} MB together.

## Training
Pictures, captions and labels come from `storybook/world.py`; no photograph and no outside data was used. Faces,
emblems, colours off the palette and
unnamed patterns occur in about a third of the things and in no caption. The denoiser sees more of them, and mostly
called by a name: a vector in the place
of a word, made up anew each time, that nothing but `storybook/names.py` could say
([why](../../docs/decisions/0011-names.md)). Stages, each resumable, `make storybook` runs them all:
`python -m storybook.train --stage tokenizer|clip|vae|unet|encoder --minutes N --device cpu|cuda`.

{training}

## Use
```python
from diffusers import StableDiffusionPipeline
import torch

pipeline = StableDiffusionPipeline.from_pretrained("storybook/model", dtype=torch.float32)
prompt = "a photo of a red and white striped mug next to a blue cat on the grass"
pipeline(prompt, num_inference_steps=25, guidance_scale=4.0).images[0]
```

## Licence
Apache-2.0, weights and code alike.
"""


def write_card(
    bars: Sequence[Mapping[str, object]],
    figures: Mapping[str, float],
    parts: Mapping[str, int],
    megabytes: float,
    training: str,
) -> str:
    """The card as Markdown.

    bars      entries {name, value, goal, holds}
    figures   everything measured, with the judge's own accuracy on real renders under "<name>_on_real_renders"
    parts     folder -> number of parameters
    training  one paragraph on how long each stage ran
    """
    rows = []
    for bar in bars:
        name = str(bar["name"])
        real = figures.get(f"{name}_on_real_renders")
        judged = f"{real:.3f}" if real is not None else ""
        reached = "yes" if bar["holds"] else "**no**"
        rows.append(f"| {_MEANING.get(name, name)} | {bar['value']:.3f} | {bar['goal']} | {reached} | {judged} |")
    table = "\n".join(rows)
    listed = "\n".join(
        f"| `{folder}/` | {_PART_NAMES.get(folder, '')} | {count:,} |" for folder, count in parts.items()
    )
    measured = (
        f"\n## Measured\n`python -m storybook.evaluate` on {figures['prompts']:.0f} fresh prompts, fixed seeds,\n"
        "25 DDIM steps, guidance 4. The judge is a classifier trained on the world; its own accuracy on real renders\n"
        "of the same scenes stands in the last column.\n\n"
        f"| what | measured | goal | reached | judge on real renders |\n|---|---|---|---|---|\n{table}\n"
    )
    return _HEAD + measured + _PARTS.format(parts=listed, megabytes=megabytes, training=training)


_PART_NAMES = {
    "unet": "UNet2DConditionModel, cross-attention at both levels, v-prediction, zero terminal SNR",
    "vae": "AutoencoderKL, 64 x 64 x 3 to 8 x 8 x 32",
    "text_encoder": "the CLIP's text tower, frozen",
    "clip": "CLIPModel, 64 px, patches of 8",
    "individuals_encoder": "the judge of `storybook.encoder`",
}
