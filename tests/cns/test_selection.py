"""Selection: the score, the ranking, general neurons, and what is left for the concept."""

import pytest
import torch

from cns.base_model import BaseModel
from cns.phrases import load_calibration_prompts
from cns.selection import (
    density,
    overlap,
    prompt_masks,
    prompt_overlap,
    select_concept_neurons,
    top_fraction,
    weight_scores,
)
from cns.settings import SelectionSettings
from cns.text import TextFeatures


def test_a_score_is_the_weights_size_times_the_norm_of_its_input() -> None:
    weight = torch.tensor([[1.0, -2.0], [0.5, 0.0]])
    inputs = torch.tensor([[3.0, 0.0], [4.0, 1.0]])
    assert torch.equal(weight_scores(weight, inputs), torch.tensor([[5.0, 2.0], [2.5, 0.0]]))


def _scores() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"small": torch.rand(4, 10, generator=generator), "large": torch.rand(4, 10, generator=generator) + 5}


def test_ranking_by_row_keeps_the_same_count_in_every_row() -> None:
    masks = top_fraction(_scores(), 0.3, "row")
    assert all(mask.sum(dim=1).tolist() == [3, 3, 3, 3] for mask in masks.values())


def test_ranking_by_layer_keeps_the_same_count_in_every_layer() -> None:
    masks = top_fraction(_scores(), 0.3, "layer")
    assert [int(mask.sum()) for mask in masks.values()] == [12, 12]


def test_global_ranking_lets_the_larger_layer_take_all() -> None:
    masks = top_fraction(_scores(), 0.5, "global")
    assert int(masks["small"].sum()) == 0
    assert int(masks["large"].sum()) == 40


def test_what_is_kept_is_the_best() -> None:
    scores = _scores()
    for layer, mask in top_fraction(scores, 0.3, "layer").items():
        assert scores[layer][mask].min() >= scores[layer][~mask].max()


def test_the_concepts_mask_is_its_own_less_the_general_one(sd1: BaseModel) -> None:
    captions = sd1.text_features(["a photo of the dog on grass", "the dog at night"])
    general = sd1.text_features(["a red robot", "a blue house", "a mug"])
    masks = select_concept_neurons(sd1.kv_weights, captions, general, SelectionSettings())
    for layer in sd1.kv_weights:
        assert torch.equal(masks.concept[layer], masks.base[layer] & ~masks.general[layer])
    assert 0 < masks.densities()["concept"] < masks.densities()["base"] <= 0.31


def test_the_more_votes_a_general_neuron_needs_the_fewer_there_are(sd1: BaseModel) -> None:
    captions = sd1.text_features(["a photo of the dog"])
    general = sd1.text_features(["a red robot", "a blue house", "a mug", "cat at night"])
    shares = [
        select_concept_neurons(sd1.kv_weights, captions, general, SelectionSettings(general_vote=vote)).densities()
        for vote in (0.25, 0.5, 1.0)
    ]
    assert shares[0]["general"] > shares[1]["general"] > shares[2]["general"] > 0


def test_positions_that_all_prompts_share_drown_what_tells_them_apart() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden = torch.rand(4, 10, 16, generator=generator)
    hidden[:, 3:] = 5 * torch.rand(16, generator=generator)  # padding: the same in every prompt, and most of them
    own = torch.zeros(4, 10, dtype=torch.bool)
    own[:, :3] = True
    features = TextFeatures(hidden, own, None)
    weights = {"to_k": torch.randn(8, 16, generator=generator)}
    apart = prompt_overlap(weights, features, SelectionSettings(norm_tokens="own"))
    drowned = prompt_overlap(weights, features, SelectionSettings(norm_tokens="all"))
    assert apart < drowned
    assert drowned > 0.95


def test_the_first_caption_alone_can_decide(sd1: BaseModel) -> None:
    captions = sd1.text_features(["a dog", "the red house at night"])
    settings = SelectionSettings(base_prompts="first")
    masks = select_concept_neurons(sd1.kv_weights, captions, sd1.text_features(["a mug"]), settings)
    first = next(prompt_masks(sd1.kv_weights, captions, settings))
    assert all(torch.equal(masks.base[layer], mask) for layer, mask in first.items())


def test_overlap_is_a_share_of_the_first_mask() -> None:
    first = {"a": torch.tensor([[True, True, False]]), "b": torch.tensor([[True, True, False]])}
    second = {"a": torch.tensor([[True, False, True]])}
    assert overlap(first, second) == 0.25
    assert density(first) == pytest.approx(4 / 6)
    assert overlap({"a": torch.zeros(1, 3, dtype=torch.bool)}, second) == 0


def test_calibration_prompts_are_many_and_all_different() -> None:
    prompts = load_calibration_prompts()
    assert len(set(prompts)) == len(prompts) >= 40


def test_a_base_may_bring_its_own_calibration_prompts(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("base")
    assert load_calibration_prompts(folder) == load_calibration_prompts()
    (folder / "calibration_prompts.txt").write_text("# of this world\na red mug\n\na blue fish\n")
    assert load_calibration_prompts(folder) == ("a red mug", "a blue fish")


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="fraction"):
        SelectionSettings(fraction=0)
    with pytest.raises(ValueError, match="vote"):
        SelectionSettings(general_vote=1.5)
