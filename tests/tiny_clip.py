"""A tiny CLIP and a tiny BLIP with random weights, saved to disk as transformers saves them. Seeded."""

from pathlib import Path

import numpy as np
from PIL import Image
from transformers import (
    BertTokenizer,
    BlipConfig,
    BlipForConditionalGeneration,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
)
from transformers.models.blip.image_processing_pil_blip import BlipImageProcessorPil

from tests.tiny import build_text_config, build_tokenizer, seeded

PICTURE_PX = 16
WIDTH = 24
VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 8,
    "image_size": PICTURE_PX,
}
BLIP_WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] a photo of the dog cat on in grass snow with red ball".split()


def build_clip(path: Path, seed: int = 0) -> Path:
    """A CLIPModel with its tokenizer and its preprocessor_config.json."""
    tokenizer = build_tokenizer()
    config = CLIPConfig(text_config=build_text_config(tokenizer).to_dict(), vision_config=VISION, projection_dim=WIDTH)
    seeded(lambda: CLIPModel(config), seed).save_pretrained(path)
    tokenizer.save_pretrained(path)
    CLIPImageProcessorPil(
        size={"shortest_edge": PICTURE_PX}, crop_size={"height": PICTURE_PX, "width": PICTURE_PX}
    ).save_pretrained(path)
    return path


def build_blip(path: Path, seed: int = 0) -> Path:
    """A BlipForConditionalGeneration with a tokenizer of twenty words."""
    text = {
        "vocab_size": len(BLIP_WORDS),
        "hidden_size": 32,
        "encoder_hidden_size": 32,
        "intermediate_size": 64,
        "projection_dim": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
        "bos_token_id": BLIP_WORDS.index("[CLS]"),
        "eos_token_id": BLIP_WORDS.index("[SEP]"),
        "sep_token_id": BLIP_WORDS.index("[SEP]"),
        "pad_token_id": BLIP_WORDS.index("[PAD]"),
    }
    config = BlipConfig(text_config=text, vision_config=VISION, projection_dim=32)
    seeded(lambda: BlipForConditionalGeneration(config), seed).save_pretrained(path)
    BertTokenizer(vocab={word: place for place, word in enumerate(BLIP_WORDS)}).save_pretrained(path)
    BlipImageProcessorPil(size={"height": PICTURE_PX, "width": PICTURE_PX}).save_pretrained(path)
    return path


def random_pictures(count: int, width: int = 20, height: int = 28, seed: int = 0) -> list[Image.Image]:
    """Noise, each picture with another colour over it, so that pictures differ."""
    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (count, 1, 1, 3))
    noise = rng.integers(-40, 40, (count, height, width, 3))
    return [Image.fromarray(picture) for picture in (colours + noise).clip(0, 255).astype(np.uint8)]
