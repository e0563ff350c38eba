"""What a page says follows from its figures, also where these are not what was hoped for."""

from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.bars import at_least, at_most
from benchmarks.experiments import ab, abilities, calibration, fraction, overlap, regulariser, similar
from benchmarks.experiments.abilities import tone_way
from benchmarks.experiments.record import Places, Report, percent, write_index
from benchmarks.markdown import make_table
from storybook.world import BACKGROUNDS

ROOT = Path(__file__).resolve().parents[2]


def learning(way: float, similarity: float = 0.97, lost: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"way": way, "similarity": similarity, "lost": lost, "clip_t": 0.3, "density": 0.1, "values": 1000, **more}


def words(report: Report) -> str:
    return " ".join(report.sentences)


def test_prompts_are_chosen_that_share_few_words() -> None:
    prompts = ("a red boat at night", "a red boat on the grass", "a blue cat in the snow", "a blue cat at night")
    assert overlap.differing(prompts, 2) == ["a red boat at night", "a blue cat in the snow"]


def test_alike_prompts_differ_in_their_colour_alone() -> None:
    made = overlap.alike("a yellow boat in front of a brick wall", 3)
    assert len(set(made)) == 3
    assert all(prompt.endswith("boat in front of a brick wall") for prompt in made)
    assert overlap.alike("a boat", 2) == ["a red boat", "an orange boat"]


@pytest.mark.parametrize(
    ("layer", "short"),
    [
        ("down_blocks.0.attentions.1.transformer_blocks.0.attn2.to_k", "down 0.1 K"),
        ("mid_block.attentions.0.transformer_blocks.0.attn2.to_v", "mid 0 V"),
    ],
)
def test_layers_have_short_names(layer: str, short: str) -> None:
    assert overlap.short_layer(layer) == short


def test_the_papers_overlap_is_met_or_not() -> None:
    figures = overlap_figures(mean=0.55)
    assert "as the paper's 53 %" in words(overlap.report(figures))
    assert all(bar.holds for bar in overlap.report(figures).bars)
    figures = overlap_figures(mean=0.75)
    assert "not the paper's 53 %" in words(overlap.report(figures))
    assert not any(bar.holds for bar in overlap.report(figures).bars)


def overlap_figures(mean: float) -> dict[str, Any]:
    return {
        "prompts": ["a", "b"],
        "fraction": 0.3,
        "pairs": [[0, 1]],
        "overlap_by_layer": {"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k": [mean]},
        "overlap_of_pairs": [mean],
        "rankings": {"row": mean, "layer": mean, "global": mean},
        "norm_correlation": {"own_words": 0.2, "all_positions": 0.3},
        "densities": {"the settings": {"base": 0.3, "general": 0.2, "concept": 0.1}},
        **dict.fromkeys(("mean", "jaccard", "shared_by_all", "own_words", "all_positions", "top_tenth"), mean),
        **dict.fromkeys(("alike", "alike_all_positions", "norms_squared", "decided_by_weights"), mean),
        **dict.fromkeys(("shared_channels", "spread_of_weights", "spread_of_norms"), 0.4),
    }


def test_general_prompts_still_work_without_the_regulariser_or_not() -> None:
    def figures(free: float, kept: float) -> dict[str, Any]:
        variants = {name: learning(0.7) for name in regulariser.VARIANTS}
        variants["L_reg = 0"] = learning(0.7, free)
        variants["L_reg = 0, M_general kept"] = learning(0.7, kept)
        return {"subject": "<rex> dog", "variants": variants, "first_concept_needs_no_l_reg": True}

    told = words(regulariser.report(figures(0.97, 0.90)))
    assert "general prompts still work" in told
    assert "this is what it is for" in told
    told = words(regulariser.report(figures(0.90, 0.97)))
    assert "do not stay as they were" in told
    assert "against what is hoped of it" in told
    assert "makes no difference to general pictures worth the name" in words(regulariser.report(figures(0.97, 0.969)))


def test_what_a_variant_keeps_of_the_first_concept_is_told_against_the_other() -> None:
    def figures(lost: dict[str, float]) -> dict[str, Any]:
        sequences = {
            f"{name}, then a house": {
                "variant": name,
                "right_after": 0.8,
                "again": 0.8 - some,
                "towards_second": 0.0,
                "mask_overlap": 0.4,
                "second_way": 0.7,
                "second_similarity": 0.97,
            }
            for name, some in lost.items()
        }
        return {"first": "<rex> dog", "sequences": sequences}

    told = words(ab.report(figures({"L_reg = 0": 0.3, "L_reg": 0.1, "our guards": 0.3, "at the token alone": 0.0})))
    assert "With “L_reg” 20 % more of the way is kept than with “L_reg = 0”" in told
    assert "With “our guards” 20 % LESS of the way is kept than with “L_reg”" in told
    assert "With “at the token alone” 30 % more of the way is kept than with “our guards”" in told
    assert "The worst case is “L_reg = 0, then a house”" in told
    told = words(ab.report(figures({"L_reg = 0": 0.1, "L_reg": 0.1, "our guards": 0.1, "at the token alone": 0.1})))
    assert told.count("as much of the way is kept, but for noise") == 3


def test_a_share_that_is_better_at_no_cost_is_named() -> None:
    def figures(ways: tuple[float, ...], similarities: tuple[float, ...]) -> dict[str, Any]:
        learnings = {
            f"{name}, {share}": learning(way, similarity, variant=name, fraction=share)
            for name in fraction.VARIANTS
            for share, way, similarity in zip(fraction.FRACTIONS, ways, similarities, strict=True)
        }
        return {"subject": "<rex> dog", "learnings": learnings}

    told = words(fraction.report(figures((0.5, 0.6, 0.7, 0.8), (0.97, 0.97, 0.97, 0.97))))
    assert "more faithful" in told
    assert (
        "The paper's 30 % is not the best here: nearer to the concept at no cost is 50 % (our guards), 50 % (" in told
    )
    told = words(fraction.report(figures((0.5, 0.6, 0.7, 0.8), (0.99, 0.98, 0.97, 0.90))))
    assert "general pictures drift further" in told
    assert "No other share is nearer to the concept" in told


def test_a_calibration_that_changes_what_is_learned_is_named() -> None:
    names = list(calibration.calibrations([f"prompt {number}" for number in range(40)]))
    table = [[1.0 if row == column else 0.6 for column in names] for row in names]
    figures = {
        "subject": "<rex> dog",
        "names": names,
        "general_density": dict.fromkeys(names, 0.2),
        "concept_density": dict.fromkeys(names, 0.1),
        "jaccard_general": table,
        "jaccard_concept": table,
        "learnings": {name: learning(0.7) for name in names},
    }
    assert "no other calibration differs by more than noise" in words(calibration.report(figures))
    figures["learnings"]["20 of animals"] = learning(0.4)
    assert "noticeably different: 20 of animals (-0.30 of the way" in words(calibration.report(figures))


def test_calibrations_speak_of_what_they_are_named_for() -> None:
    made = calibration.prompts_about(("cat",), BACKGROUNDS, 12, seed=0)
    assert len(set(made)) == 12
    assert all("cat" in prompt for prompt in made)
    assert made == calibration.prompts_about(("cat",), BACKGROUNDS, 12, seed=0)


def test_growing_with_likeness_is_told_by_correlation() -> None:
    def figures(leans: tuple[float, ...]) -> dict[str, Any]:
        zeros = dict.fromkeys(("first_taken_for_second", "second_taken_for_first", "first_lost", "second_way"), 0.0)
        pairs = [
            {
                **zeros,
                "first": f"<a{number}> cat",
                "second": f"<b{number}> cat",
                "likeness_in_words": 0.5,
                "likeness_in_pictures": number / 10,
                "shared_entries": 0.3,
                "first_leans": lean,
                "second_leans": lean,
            }
            for number, lean in enumerate(leans)
        ]
        return {"pairs": pairs}

    told = words(similar.report(figures((0.1, 0.2, 0.3))))
    assert "leaning grows (r = 1.00) with likeness" in told
    assert "No picture of one concept is nearer to the other's" in told
    assert "leaning falls (r = -1.00)" in words(similar.report(figures((0.3, 0.2, 0.1))))


def test_pictures_are_taken_for_the_concept_they_are_nearer_to() -> None:
    own, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    features = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.8, 0.6], [1.0, 0.0]])
    assert similar.taken_for(features, own, other) == 0.25
    assert similar.leans(own, own, other) == 0


def test_the_way_of_the_tone_is_0_at_the_noun_and_1_at_the_references() -> None:
    dark, light = torch.zeros(2, 3, 4, 4), torch.ones(3, 3, 4, 4)
    assert tone_way(dark, dark, light) == pytest.approx(0)
    assert tone_way(dark, light, light) == pytest.approx(1)
    assert tone_way(dark, dark + 0.25, light) == pytest.approx(0.25)


def test_bars_and_tables_keep_small_numbers() -> None:
    assert at_most("x", 3.7e-7, 1e-4) == at_most("x", 3.7e-7, 1e-4)
    assert (at_most("x", 3.7e-7, 1e-4).value, at_most("x", 2e-4, 1e-4).holds) == (3.7e-7, False)
    assert (at_least("x", 0.95, 0.95).holds, at_least("x", 0.9499, 0.95).holds) == (True, False)
    assert make_table(("", "a"), [("b", 3.7e-7), ("c", 0.25)]).splitlines()[2:] == ["| b | 3.7e-07 |", "| c | 0.250 |"]
    assert (percent(0.753), percent(-0.001), percent(0.0013, 2)) == ("75 %", "0 %", "0.13 %")


def test_the_committed_index_is_that_of_the_committed_figures(tmp_path: Path) -> None:
    write_index(Places(tmp_path, ROOT / "benchmarks" / "results"))
    assert (tmp_path / "README.md").read_text() == (ROOT / "docs" / "experiments" / "README.md").read_text()


def test_damage_that_only_the_concepts_own_noun_shows_is_told_apart() -> None:
    def figures(severity: str) -> dict[str, Any]:
        def one(subject: str, variant: str, on_noun: str) -> dict[str, Any]:
            kinds = {"concept": "ok", "general prompts": "ok", "prompts with the noun": on_noun}
            numbers = dict.fromkeys(("way", "scale_width", "tone_way", "word_similarity", "general_similarity"), 0.9)
            shares = {"general_share_of_base": 0.5 if subject == "<rex> dog" else 0.8}
            findings = {what: {"severity": found} for what, found in kinds.items()}
            return {"subject": subject, "variant": variant, **numbers, **shares, "pull": None, "findings": findings}

        learnings = {
            f"{subject}, {variant}": one(subject, variant, severity if subject != "<rex> dog" else "ok")
            for subject in ("<dusk> night", "<rex> dog")
            for variant in abilities.VARIANTS
        }
        return {"control": "<rex> dog", "learnings": learnings}

    told = words(abilities.report(figures("warn")))
    assert "finds damage in nothing" in told
    assert "noun is asked for is in “<dusk> night, our guards”, “<dusk> night, no guard”, “<dusk> night, va" in told
    assert "abilities overlap more with what is general" in told
    assert "noun is asked for is in nothing." in words(abilities.report(figures("ok")))
    blind = figures("ok")
    for learned in blind["learnings"].values():
        learned["scale_width"] = 0.001
    assert "says that its judge cannot see “<dusk> night, our guards”" in words(abilities.report(blind))
