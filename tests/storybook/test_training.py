"""A stage that was stopped goes on from where it was, and what it writes can be read by the stock libraries."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPTokenizer

from storybook import text_tower, vae_stage
from storybook.clip_stage import build_clip, export, noun_accuracy, save_text_encoder, tokenize
from storybook.encoder import EMBEDDING, IndividualsEncoder, load_encoder, save_encoder
from storybook.tokenizer import MAX_TOKENS, train_tokenizer
from storybook.training import Clock, MovingAverage, begin, module_state, record_stage, save_state
from storybook.world import NOUNS, caption, random_scene


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    rng = np.random.default_rng(0)
    return train_tokenizer([caption(random_scene(rng), rng) for _ in range(2000)])


def _steps(module: nn.Module, optimizer: torch.optim.Optimizer, average: MovingAverage, count: int, first: int) -> None:
    for step in range(first, first + count):
        inputs = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        module(inputs).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update(module)


def _fresh() -> tuple[nn.Module, torch.optim.Optimizer, MovingAverage]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 5), nn.SiLU(), nn.Linear(5, 2))
    return module, torch.optim.AdamW(module.parameters(), 1e-2), MovingAverage(module, 0.99)


def test_a_resumed_stage_ends_with_the_same_weights_as_an_uninterrupted_one(tmp_path: Path) -> None:
    module, optimizer, average = _fresh()
    _steps(module, optimizer, average, 3, first=0)
    save_state(tmp_path / "state.safetensors", module_state(module, optimizer, average), {"steps": 3, "samples": 12})
    _steps(module, optimizer, average, 3, first=3)

    resumed, its_optimizer, its_average = _fresh()
    counts = begin(tmp_path / "state.safetensors", tmp_path / "none", resumed, its_optimizer, its_average)
    _steps(resumed, its_optimizer, its_average, 3, first=3)

    assert counts == {"steps": 3, "samples": 12}
    for ours, theirs in zip(module.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    for name, value in average.values.items():
        assert torch.equal(value, its_average.values[name])


def test_a_stage_without_a_checkpoint_goes_on_from_the_shipped_weights(tmp_path: Path) -> None:
    module, optimizer, average = _fresh()
    _steps(module, optimizer, average, 3, first=0)
    shipped = tmp_path / "part" / "model.safetensors"
    shipped.parent.mkdir()
    save_file({name: p.detach().half() for name, p in module.named_parameters()}, shipped)
    record_stage(tmp_path, "part", steps=3, samples=12, minutes=1, device="cpu")

    again, its_optimizer, its_average = _fresh()
    counts = begin(tmp_path / "part.safetensors", shipped, again, its_optimizer, its_average)
    assert counts == {"steps": 3, "samples": 12}
    for ours, theirs in zip(module.parameters(), again.parameters(), strict=True):
        assert torch.equal(ours.half().float(), theirs)
    assert begin(tmp_path / "x", tmp_path / "y", again, its_optimizer, its_average) == {"steps": 0, "samples": 0}


def test_the_learning_rate_rises_then_holds_then_falls() -> None:
    clock = Clock(minutes=10, cooldown=0.2)
    assert clock.rate(0, warmup=100) == pytest.approx(0.01, abs=1e-3)
    assert clock.rate(500, warmup=100) == pytest.approx(1.0, abs=1e-3)
    clock.started -= 600
    assert clock.over
    assert clock.rate(500, warmup=100) == pytest.approx(0.02, abs=1e-3)


def test_the_record_of_a_stage_adds_up_its_minutes(tmp_path: Path) -> None:
    record_stage(tmp_path, "vae", steps=10, samples=320, minutes=1.5, device="cpu")
    record_stage(tmp_path, "vae", steps=20, samples=640, minutes=2.0, device="cpu")
    assert '"minutes": 3.5' in (tmp_path / "training.json").read_text()


def test_every_word_of_the_world_is_one_piece_and_no_prompt_is_unknown(tokenizer: CLIPTokenizer) -> None:
    for noun in NOUNS:
        assert tokenizer.tokenize(noun) == [f"{noun}</w>"]
    for prompt in ("a zebra 42 times", "naïve façade", "犬"):
        ids = tokenizer(prompt, add_special_tokens=False).input_ids
        assert ids
        assert tokenizer.unk_token_id not in ids


def test_the_tokenizer_survives_saving_and_pads_as_the_pipeline_does(tokenizer: CLIPTokenizer, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = CLIPTokenizer.from_pretrained(tmp_path)
    texts = ["a photo of a red mug on the grass", "a cat"]
    assert torch.equal(tokenize(again, texts), tokenize(tokenizer, texts))
    assert tokenize(again, texts).shape == (2, MAX_TOKENS)


def test_the_text_tower_learns_to_tell_which_noun_has_which_colour(tokenizer: CLIPTokenizer) -> None:
    torch.manual_seed(0)
    clip = build_clip(tokenizer)
    lines: list[str] = []
    steps = text_tower.train_text_tower(clip, tokenizer, 0.05, torch.device("cpu"), lines.append)
    assert steps > 0
    positions = text_tower.noun_positions(
        tokenize(tokenizer, ["a red mug next to a blue cat", "a tree"]),
        torch.tensor([tokenizer.convert_tokens_to_ids(f"{noun}</w>") for noun in NOUNS]),
    )
    assert positions.tolist() == [[3, 8], [2, -1]]


def test_a_clip_is_written_with_the_text_tower_as_an_encoder_of_its_own(
    tokenizer: CLIPTokenizer, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    clip = build_clip(tokenizer)
    save_text_encoder(clip, tmp_path)
    export(clip, tokenizer, tmp_path)
    assert (tmp_path / "clip" / "preprocessor_config.json").exists()
    assert (tmp_path / "text_encoder" / "model.safetensors").exists()
    assert 0 <= noun_accuracy(clip.float(), tokenizer, count=12) <= 1


def test_the_judge_survives_saving_with_what_was_measured_of_it(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = IndividualsEncoder().half().float().eval()
    save_encoder(encoder, tmp_path, {"individual_retrieval": 0.9})
    again, facts = load_encoder(tmp_path)
    pixels = torch.rand(2, 3, 64, 64) * 2 - 1
    assert facts == {"individual_retrieval": 0.9}
    assert torch.equal(again.identify(pixels), encoder.identify(pixels))
    assert again.identify(pixels).shape == (2, EMBEDDING)
    assert again.identify(pixels).norm(dim=1).tolist() == pytest.approx([1, 1], abs=1e-5)


def test_the_autoencoder_s_sheet_shows_pictures_and_below_them_what_came_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pixels = torch.rand(3, 3, 64, 64) * 2 - 1
    vae_stage.draw_samples(vae_stage.build_vae().eval(), pixels, torch.device("cpu"), tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as sheet:
        shown = torch.from_numpy(np.array(sheet))  # (height, width, 3) uint8, each pixel three times as large
    assert shown.shape == (2 * 192 + 2, 3 * 192 + 4, 3)
    first = shown[:192:3, :192:3].permute(2, 0, 1)
    assert (first.float() / 127.5 - 1 - pixels[0]).abs().max() < 0.01
    assert not torch.equal(shown[:192], shown[194:])


def test_an_average_that_starts_from_shipped_weights_soon_forgets_them(tmp_path: Path) -> None:
    module, optimizer, average = _fresh()
    shipped = tmp_path / "part" / "model.safetensors"
    shipped.parent.mkdir()
    save_file({name: torch.full_like(p, 9.0) for name, p in module.named_parameters()}, shipped)
    record_stage(tmp_path, "part", steps=5000, samples=12, minutes=1, device="cpu")
    begin(tmp_path / "part.safetensors", shipped, module, optimizer, average)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    for _ in range(60):
        average.update(module)
    assert all(value.abs().max() < 0.1 for value in average.values.values())
