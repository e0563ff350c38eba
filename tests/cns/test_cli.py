"""The commands, as a person types them, on a tiny base with a tiny CLIP beside it."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import Result
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from cns import cli, opening, unteaching
from cns import pictures as kept_pictures
from cns.base_model import BaseModel
from cns.history_folder import HistoryFolder
from cns.own_settings import THRESHOLDS
from cns.recipe import read_recipe
from tests import tiny_clip


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """One picture of each kind of file that is taken."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / name for name in ("a.png", "b.jpg", "c.webp")]
    for path, picture in zip(paths, tiny_clip.random_pictures(3)):
        picture.save(path)
    return [str(path) for path in paths]


def run(*arguments: object) -> Result:
    result: Result = CliRunner().invoke(cli.app, [str(argument) for argument in arguments])
    return result


def learn(history: Path, base: Path, pictures: list[str], name: str = "rex", *more: object) -> Result:
    options = ("--name", name, "--noun", "dog", "--base", base, "--steps", 2, "--batch", 2)
    return run("learn", history, *pictures, *options, *more)


@pytest.fixture(scope="module")
def learned(
    judged_folder: Path, pictures: list[str], tmp_path_factory: pytest.TempPathFactory, device: torch.device
) -> Path:
    """A history of two versions. Tests that change it work on a copy."""
    history = tmp_path_factory.mktemp("cli-history") / "history"
    for name in ("rex", "tom"):
        result = learn(history, judged_folder, pictures, name, "--device", device)
        assert result.exit_code == 0, result.output
    return history


@pytest.fixture
def own_copy(learned: Path, tmp_path: Path) -> Path:
    copy: Path = shutil.copytree(learned, tmp_path / "history")
    return copy


def test_learning_makes_versions_with_an_examination(learned: Path) -> None:
    history = HistoryFolder.open(learned).history
    assert [(version.number, version.parent, version.concept) for version in history.versions] == [
        (1, 0, "rex"),
        (2, 1, "tom"),
    ]
    second = history.find(2)
    assert set(second.seconds) == {"captions", "selection", "learning", "diagnosis"}
    assert set(second.report["density"]) == {"base", "general", "concept"}
    assert len(second.report["loss"]) == 2
    assert {finding["signature"] for finding in second.diagnosis} >= {"underfitting", "zero-shot damage", "forgetting"}
    assert set(second.examination["concepts"]) == {"rex", "tom"}


def test_a_version_that_does_damage_is_kept_beside_head_unless_one_says_otherwise(
    judged_folder: Path, pictures: list[str], tmp_path: Path
) -> None:
    strict = Path(shutil.copytree(judged_folder, tmp_path / "strict"))
    (strict / THRESHOLDS).write_text('{"similarity_warn": 2, "similarity_bad": 2}')  # a cosine is never so high
    held = learn(tmp_path / "h", strict, pictures)
    assert held.exit_code == 0, held.output
    assert "head stays on version 0" in held.stdout
    assert "rollback --to 1" in held.stdout
    history = HistoryFolder.open(tmp_path / "h").history
    assert (history.head, [one["signature"] for one in history.find(1).held_back]) == (0, ["zero-shot damage"])
    assert learn(tmp_path / "h", strict, pictures, "rex", "--no-guard-head").exit_code == 0
    history = HistoryFolder.open(tmp_path / "h").history
    assert (history.head, history.find(2).parent, history.find(2).held_back) == (2, 0, ())


def test_learning_the_same_twice_gives_the_same_delta(
    learned: Path, judged_folder: Path, pictures: list[str], tmp_path: Path
) -> None:
    assert learn(tmp_path / "again", judged_folder, pictures).exit_code == 0
    first, again = (HistoryFolder.open(folder).history.find(1) for folder in (learned, tmp_path / "again"))
    assert again.delta == first.delta


def test_a_caption_of_ones_own_is_learned_with_the_token_in_it(
    judged_folder: Path, pictures: list[str], tmp_path: Path
) -> None:
    result = learn(tmp_path / "h", judged_folder, pictures, "rex", "--caption", "the dog at night")
    assert result.exit_code == 0, result.output
    version = HistoryFolder.open(tmp_path / "h").history.find(1)
    assert version.report["captions"] == ["the <rex> dog at night"] * 3


def test_captions_can_be_retrieved_with_the_clip_beside_the_base(
    judged_folder: Path, pictures: list[str], tmp_path: Path
) -> None:
    result = learn(tmp_path / "h", judged_folder, pictures, "rex", "--captioner", "retrieval")
    assert result.exit_code == 0, result.output


def test_a_base_without_a_clip_learns_unexamined(sd1_folder: Path, pictures: list[str], tmp_path: Path) -> None:
    result = learn(tmp_path / "h", sd1_folder, pictures)
    assert result.exit_code == 0, result.output
    assert "--judge" in result.stderr
    assert HistoryFolder.open(tmp_path / "h").history.find(1).diagnosis == ()


def test_pictures_carry_their_recipe(learned: Path, tmp_path: Path) -> None:
    prompt = "a photo of the <rex> dog next to <tom> dog"
    result = run("generate", learned, prompt, "--seed", 5, "--count", 2, "--out", tmp_path, "--steps", 2)
    assert result.exit_code == 0, result.output
    paths = [Path(line) for line in result.stdout.split()]
    assert [path.name[:8] for path in paths] == ["v2-seed5", "v2-seed6"]
    with Image.open(paths[1]) as picture:
        recipe = read_recipe(picture)
        text = picture.info["parameters"]
    assert recipe is not None
    assert (recipe["prompt"], recipe["seed"], recipe["version"], recipe["steps"]) == (prompt, 6, 2, 2)
    assert [delta["concept"] for delta in recipe["deltas"]] == ["rex", "tom"]
    assert re.search(r"Steps: 2, Sampler: DDIM, CFG scale: 5.0, Seed: 6, Size: 16x16", text)


def test_a_picture_that_overflows_takes_no_other_with_it(
    learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, batches = BaseModel.decode_latents, []

    def decode(self: BaseModel, latents: Tensor) -> Tensor:
        made = original(self, latents)
        batches.append(len(made))
        if len(batches) == 2:
            made[0, 0, 0, 0] = float("nan")
        return made

    monkeypatch.setattr(BaseModel, "decode_latents", decode)
    result = run("generate", learned, "<rex>", "--count", 5, "--batch", 2, "--out", tmp_path, "--steps", 1)
    assert (result.exit_code, batches) == (1, [2, 2, 1])
    assert "No picture came of seed 2: its values overflowed" in result.stderr
    told = [Path(line) for line in result.stdout.split()]
    assert [path.name for path in told] == [f"v2-seed{seed}-rex.png" for seed in (0, 1, 3, 4)]
    assert sorted(told) == sorted(tmp_path.iterdir())


def test_what_is_made_is_written_whatever_happens_to_the_rest(
    learned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, batches = BaseModel.decode_latents, []

    def decode(self: BaseModel, latents: Tensor) -> Tensor:
        batches.append(len(latents))
        if len(batches) == 2:
            raise torch.OutOfMemoryError("The memory is full.")
        return original(self, latents)

    monkeypatch.setattr(BaseModel, "decode_latents", decode)
    result = run("generate", learned, "<rex>", "--count", 4, "--batch", 2, "--out", tmp_path, "--steps", 1)
    assert (result.exit_code, result.stderr.strip().splitlines()[-1]) == (1, "The memory is full.")
    assert [Path(line) for line in result.stdout.split()] == sorted(tmp_path.iterdir())
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_is_made_where_a_later_seed_is_none(learned: Path, tmp_path: Path) -> None:
    asked = ("--seed", 2**64 - 1, "--count", 2, "--batch", 1, "--steps", 1)
    result = run("generate", learned, "<rex>", "--out", tmp_path, *asked)
    assert (result.exit_code, result.stdout, list(tmp_path.iterdir())) == (1, "", [])
    assert "The seed of a picture" in result.stderr


@pytest.mark.parametrize(("options", "apart"), [((), True), (("--may-mix",), False)])
def test_concepts_of_a_picture_keep_apart_unless_they_may_mix(
    learned: Path, tmp_path: Path, options: tuple[str, ...], apart: bool
) -> None:
    result = run("generate", learned, "<rex> dog and <tom> dog", "--out", tmp_path, "--steps", 2, *options)
    assert result.exit_code == 0, result.output
    with Image.open(result.stdout.strip()) as picture:
        recipe = read_recipe(picture)
    assert recipe is not None
    assert recipe["apart"] is apart


def test_the_same_command_makes_the_same_picture_beside_the_first(learned: Path, tmp_path: Path) -> None:
    for _ in range(2):
        assert run("generate", learned, "<rex>", "--out", tmp_path, "--steps", 2).exit_code == 0
    first, second = sorted(tmp_path.iterdir())
    assert first.read_bytes() == second.read_bytes()


def test_an_earlier_version_does_not_know_later_concepts(learned: Path, tmp_path: Path) -> None:
    result = run("generate", learned, "a <tom> dog", "--out", tmp_path, "--steps", 2, "--version", 1)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "<tom>" in result.stderr
    assert "known tokens: <rex>" in result.stderr
    assert result.stderr.count("\n") <= 2


def test_the_tree_shows_where_head_is_and_how_it_got_there(own_copy: Path, judged_folder: Path) -> None:
    assert run("rollback", own_copy, "--to", 1).exit_code == 0
    shown = run("history", own_copy).stdout
    assert re.search(r"1  rex \(dog\).*<- head", shown)
    assert "2  tom (dog)" in shown
    assert "2 -> 1  rolled back" in shown


@pytest.mark.parametrize("noun", ["dog [brown]", "dog [/]", "dog [bold]"])
def test_the_tree_shows_what_people_wrote_as_they_wrote_it(own_copy: Path, noun: str) -> None:
    written = own_copy / "history.json"
    history = json.loads(written.read_text())
    for version in history["versions"]:
        version["class_noun"] = noun
    written.write_text(json.dumps(history))
    for head in (2, 1):
        shown = run("history", own_copy)
        assert (shown.exit_code, shown.stdout.count(f"({noun})")) == (0, 2)
        assert run("rollback", own_copy, "--to", head - 1).exit_code == 0


def test_after_a_rollback_the_same_bytes_come_again_and_learning_branches(
    own_copy: Path, judged_folder: Path, pictures: list[str], tmp_path: Path
) -> None:
    options = ("--steps", 2, "--seed", 3)
    assert run("generate", own_copy, "<rex>", "--out", tmp_path / "a", *options, "--version", 1).exit_code == 0
    assert run("rollback", own_copy, "--to", 1).exit_code == 0
    assert run("generate", own_copy, "<rex>", "--out", tmp_path / "b", *options).exit_code == 0
    (before,), (after,) = (list((tmp_path / name).iterdir()) for name in "ab")
    assert before.read_bytes() == after.read_bytes()
    assert learn(own_copy, judged_folder, pictures, "mia").exit_code == 0
    assert HistoryFolder.open(own_copy).history.find(3).parent == 1


def test_scores_are_json_of_every_concept_since_it_was_learned(learned: Path) -> None:
    result = run("score", learned, "--steps", 2, "--seeds", 1)
    assert result.exit_code == 0, result.output
    scores = json.loads(result.stdout)["scores"]
    assert [(score["version"], score["concept"]) for score in scores] == [
        (0, "rex"),
        (0, "tom"),
        (1, "rex"),
        (2, "rex"),
        (2, "tom"),
    ]
    assert all(-1 <= score["clip_i"] <= 1 and 0 <= score["clip_t"] <= 250 for score in scores)


@pytest.mark.parametrize(
    ("form", "file"),
    [
        ("diffusers", "model_index.json"),
        ("custom-diffusion", "pytorch_custom_diffusion_weights.safetensors"),
        ("lora", "pytorch_lora_weights.safetensors"),
    ],
)
def test_a_version_is_exported_in_each_form(learned: Path, tmp_path: Path, form: str, file: str) -> None:
    result = run("export", learned, "--format", form, "--out", tmp_path / "out", "--rank", 2)
    assert result.exit_code == 0, result.output
    assert (tmp_path / "out" / file).is_file()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("rollback", "{history}", "--to", "9"), "no version 9"),
        (("generate", "{history}", "a dog", "--out", "{out}", "--sampler", "magic"), "no sampler 'magic'"),
        (("generate", "{history}", "a dog", "--out", "{out}", "--device", "abacus"), "device abacus cannot be used"),
        (("generate", "{history}", "a dog", "--out", "{out}", "--dtype", "int8"), "no dtype int8"),
        (("generate", "{history}", "a dog", "--out", "{out}", "--base", "{other}"), "another base model"),
        (("history", "{out}"), "There is no history in"),
        (("export", "{history}", "--format", "lora", "--out", "{out}", "--version", "0"), "bare base"),
        (("learn", "{history}", "{text}", "--name", "mia", "--noun", "cat"), "notes.png cannot be read as a PNG"),
        (("learn", "{history}", "{out}/none.png", "--name", "mia", "--noun", "cat"), "There is no file"),
        (("generate", "{history}", "a dog \udc80", "--out", "{out}"), "half a character"),
        (("learn", "{history}", "{picture}", "--name", "mia", "--noun", "cat\udc80"), "half a character"),
        (("learn", "{history}", "{picture}", "--name", "a b", "--noun", "cat"), "letters, digits"),
        (("learn", "{history}", "{picture}", "--name", "rex", "--noun", "cat"), "already knows <rex>"),
        (("learn", "{history}", "{picture}", "--name", "mia", "--noun", "cat", "--captioner", "blip"), "--blip"),
    ],
)
def test_what_goes_wrong_is_told_in_a_sentence(
    own_copy: Path,
    sd2_folder: Path,
    pictures: list[str],
    tmp_path: Path,
    arguments: tuple[str, ...],
    sentence: str,
) -> None:
    text = tmp_path / "notes.png"
    text.write_text("no picture")
    places = {"history": own_copy, "out": tmp_path / "out", "other": sd2_folder, "text": text, "picture": pictures[0]}
    before = (own_copy / "history.json").read_bytes()
    result = run(*(argument.format_map(places) for argument in arguments))
    assert (result.exit_code, result.stdout) == (1, "")
    assert sentence in result.stderr
    assert "Traceback" not in result.stderr
    assert (own_copy / "history.json").read_bytes() == before


def test_a_damaged_delta_is_told_of(own_copy: Path, tmp_path: Path) -> None:
    file = next((own_copy / "deltas").iterdir())
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    result = run("generate", own_copy, "a dog", "--out", tmp_path)
    assert result.exit_code == 1
    assert "is damaged" in result.stderr


def test_the_base_comes_from_the_option_the_history_the_environment_or_the_project(
    learned: Path, judged_folder: Path, sd2_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASE_MODEL", str(sd2_folder))
    found = [
        opening.open_base(learned, str(sd2_folder), None, "cpu", "float32")[1],
        opening.open_base(learned, None, None, "cpu", "float32")[1],
        opening.open_base(tmp_path / "new", None, None, "cpu", "float32")[1],
    ]
    assert found == [str(sd2_folder), str(judged_folder), str(sd2_folder)]
    assert opening.SHIPPED_BASE.parts[-2:] == ("storybook", "model")


def test_a_dtype_by_name_is_that_of_the_base(judged_folder: Path, tmp_path: Path) -> None:
    assert opening.open_base(tmp_path, str(judged_folder), None, "cpu", "bfloat16")[0].dtype is torch.bfloat16


def test_forgetting_goes_on_without_a_concept_and_erases_it_when_asked(own_copy: Path) -> None:
    result = run("forget", own_copy, "--name", "rex", "--erase")
    assert result.exit_code == 0, result.output
    assert "Head is on version 3, which does not know <rex>." in result.stdout
    history = HistoryFolder.open(own_copy).history
    assert [(version.number, version.parent, version.concept) for version in history.versions] == [(3, 0, "tom")]
    digests = [line for line in result.stdout.splitlines() if re.fullmatch("[0-9a-f]{64}", line)]
    assert len(digests) >= 2
    assert not any((own_copy / "deltas" / f"{digest}.safetensors").exists() for digest in digests)


def test_forgetting_exactly_learns_the_later_concepts_again(own_copy: Path) -> None:
    result = run("forget", own_copy, "--name", "rex", "--exact")
    assert result.exit_code == 0, result.output
    assert "copies" not in result.stdout
    new = HistoryFolder.open(own_copy).history.find(3)
    assert (new.concept, new.parent, len(new.report["loss"])) == ("tom", 0, 2)


@pytest.mark.parametrize(("resolution", "coarse"), [((), True), (("--resolution", 8), False)])
def test_forgetting_exactly_says_what_is_learned_from_smaller_pictures(
    sd1_folder: Path,
    pictures: list[str],
    tmp_path: Path,
    resolution: tuple[object, ...],
    coarse: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (kept_pictures, unteaching, cli):
        monkeypatch.setattr(module, "REFERENCE_PX", 12)  # as 256 is to Stable Diffusion, 12 is to a base of 16 px
    Image.new("RGB", (9, 11), "red").save(tmp_path / "small.png")
    history = tmp_path / "history"
    for name, taught in (("rex", pictures), ("tom", pictures), ("mia", [str(tmp_path / "small.png")])):
        assert learn(history, sd1_folder, taught, name, *resolution).exit_code == 0
    result = run("forget", history, "--name", "rex", "--exact")
    assert result.exit_code == 0, result.output
    said = " ".join(result.stdout.split())
    assert "<tom>: learned again from the copies that this history keeps, whose shorter side is 12 px" in said
    assert ("Details are lost to <tom> (16 px)" in said) == coarse
    assert "<mia>" not in said.split("Version")[0]


def test_tidying_removes_what_belongs_to_no_version(own_copy: Path) -> None:
    left = own_copy / "deltas" / "left.safetensors"
    left.write_bytes(b"of a killed command")
    wrong = run("forget", own_copy, "--name", "Rex", "--erase")
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    assert "knows <Rex>" in wrong.stderr
    result = run("tidy", own_copy)
    assert result.exit_code == 0, result.output
    assert "What belongs to no version is erased. 1 files are gone" in result.stdout
    assert not left.exists()
    assert len(HistoryFolder.open(own_copy).load_deltas()) == 2


def test_forgetting_a_stranger_says_what_is_known(own_copy: Path) -> None:
    result = run("forget", own_copy, "--name", "max")
    assert result.exit_code == 1
    assert "it knows <rex>, <tom>" in result.stderr
