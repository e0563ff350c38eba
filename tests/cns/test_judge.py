"""A judge is any CLIP of transformers, and sees what that CLIP sees."""

from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPImageProcessorPil, CLIPModel, CLIPTokenizer

from cns import judge as judge_module
from cns import pretrained
from cns.errors import PickleRefused
from cns.judge import Judge, load_judge
from cns.preprocessing import to_pillow
from cns.pretrained import PretrainedError
from tests import tiny_clip

TEXTS = ["a photo of a dog", "the red mug on grass at night", "a cat, next to the house! " * 9]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_clip.build_clip(tmp_path_factory.mktemp("judge") / "clip")


@pytest.fixture(scope="module")
def judge(folder: Path) -> Judge:
    return load_judge(folder)


def test_features_are_those_of_the_clip_itself(folder: Path, judge: Judge) -> None:
    clip = CLIPModel.from_pretrained(folder).eval()
    pictures = tiny_clip.random_pictures(3)
    pixels = CLIPImageProcessorPil.from_pretrained(folder)(pictures, return_tensors="pt").pixel_values
    tokens = CLIPTokenizer.from_pretrained(folder)(TEXTS, padding="max_length", truncation=True, return_tensors="pt")
    with torch.no_grad():
        expected = clip(pixel_values=pixels, **tokens)
    torch.testing.assert_close(judge.image_features(pictures), expected.image_embeds, atol=1e-5, rtol=0)
    torch.testing.assert_close(judge.text_features(TEXTS), expected.text_embeds, atol=1e-5, rtol=0)


def test_features_have_length_one(judge: Judge) -> None:
    features = [judge.image_features(tiny_clip.random_pictures(3)), judge.text_features(TEXTS)]
    for rows in features:
        assert rows.dtype is torch.float32
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))


def test_many_are_seen_as_each_alone(judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = tiny_clip.random_pictures(5)
    together, texts = judge.image_features(pictures), judge.text_features(TEXTS)
    monkeypatch.setattr(judge_module, "BATCH", 2)
    torch.testing.assert_close(judge.image_features(pictures), together, atol=1e-6, rtol=0)
    torch.testing.assert_close(judge.text_features(TEXTS), texts, atol=1e-6, rtol=0)


def test_pixels_and_their_pictures_are_seen_alike(judge: Judge) -> None:
    pixels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(judge.image_features(pixels), judge.image_features(to_pillow(pixels)))


def test_no_texts_give_no_rows(judge: Judge) -> None:
    assert judge.text_features([]).shape == (0, tiny_clip.WIDTH)


def test_a_judge_asks_for_no_gradients_and_stays_as_it_is(judge: Judge) -> None:
    before = judge.id
    assert not judge.image_features([Image.new("RGB", (16, 16))]).requires_grad
    assert not any(parameter.requires_grad for parameter in judge.model.parameters())
    assert Judge(judge.model, judge.tokenizer, judge.preprocessing).id == before


def test_two_judges_have_two_ids(folder: Path, judge: Judge, tmp_path: Path) -> None:
    assert load_judge(folder).id == judge.id
    assert load_judge(tiny_clip.build_clip(tmp_path / "other", seed=1)).id != judge.id


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    path = tiny_clip.build_clip(tmp_path / "clip")
    (path / "model.safetensors").rename(path / "pytorch_model.bin")
    with pytest.raises(PickleRefused, match="pickles"):
        load_judge(path)
    (path / "pytorch_model.bin").unlink()
    with pytest.raises(PretrainedError, match=r"no \.safetensors weights"):
        load_judge(path)


def test_damaged_or_lacking_weights_are_refused(tmp_path: Path) -> None:
    path = tiny_clip.build_clip(tmp_path / "clip")
    weights = load_file(path / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(PretrainedError, match=r"lacks weights, such as visual_projection\.weight"):
        load_judge(path)
    (path / "model.safetensors").write_bytes(b"no tensors at all")
    with pytest.raises(PretrainedError, match="cannot be loaded"):
        load_judge(path)


def test_a_judge_whose_tokenizer_is_missing_or_damaged_is_refused(tmp_path: Path) -> None:
    """Every text would be the same to it."""
    path = tiny_clip.build_clip(tmp_path / "clip")
    (path / "tokenizer.json").write_text("{")
    with pytest.raises(PretrainedError, match="The tokenizer in clip cannot be loaded"):
        load_judge(path)
    (path / "tokenizer.json").unlink()
    with pytest.raises(PretrainedError, match="The tokenizer in clip knows no words"):
        load_judge(path)


def test_a_source_that_is_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PretrainedError, match="folder or a hub id"):
        load_judge(tmp_path / "nowhere")


def test_a_hub_model_is_taken_from_where_the_hub_puts_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretrained, "snapshot_download", lambda *_, **__: str(folder))
    assert load_judge("someone/tiny-clip").id == load_judge(folder).id
    monkeypatch.setattr(pretrained, "snapshot_download", lambda *_, **__: str(tmp_path))
    with pytest.raises(PretrainedError, match=r"someone/tiny-clip is not published as \.safetensors"):
        load_judge("someone/tiny-clip")

    def fail(*_: object, **__: object) -> str:
        raise OSError("the network is off")

    monkeypatch.setattr(pretrained, "snapshot_download", fail)
    with pytest.raises(PretrainedError, match="the network is off"):
        load_judge("someone/tiny-clip")
