"""The demo's parts: what it draws, how the sheet looks, what the report holds, and when it calls itself a success."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageFont

from cns.history import VersionRecord
from cns.learning import LearningSettings
from cns.phrases import load_calibration_prompts, load_generic_prompts
from storybook import MODEL_FOLDER, SAMPLES_FOLDER
from storybook.demo import begin_history, identical, load_lesson, main, open_demo, run_demo, write_results
from storybook.demo_plan import Settings, pairs, plan_panels, plan_requests
from storybook.demo_report import build_report, check_report, find_gaps
from storybook.demo_sheet import SheetColumn, SheetRow, draw_sheet, wrap_words
from storybook.individuals import SAMPLES
from storybook.phrases import HEADINGS, diverse_captions, write_phrases

NOUNS = {"zigi": "mug", "momo": "cat", "bolt": "robot"}
VERSION = VersionRecord(
    number=1,
    parent=0,
    concept="zigi",
    class_noun="mug",
    delta="a" * 64,
    delta_bytes=1234,
    created_at="2026-01-01T00:00:00+00:00",
    seconds={"captions": 0.1, "selection": 0.2, "learning": 3.0, "diagnosis": 1.0},
    report={"density": {"base": 0.2, "general": 0.1, "concept": 0.05}, "overlap": 0.0, "loss": [0.4, 0.2]},
    diagnosis=({"signature": "zero-shot damage", "concept": None, "value": 0.99},),
)


@pytest.fixture
def report() -> dict[str, Any]:
    """What a demo of one concept reports when all is well."""
    return build_report(
        base={"id": "b", "sha256_before": "c", "sha256_after": "c"},
        versions=[VERSION],
        scores=[
            {"version": 0, "concept": "zigi", "clip_i": 0.6, "clip_t": 60.0},
            {"version": 1, "concept": "zigi", "clip_i": 0.8, "clip_t": 61.0},
        ],
        zero_shot=[
            {"version": 0, "clip_t": 70.0, "similarity_to_base": 1.0},
            {"version": 1, "clip_t": 69.0, "similarity_to_base": 0.97},
        ],
        two_concepts=[],
        rollback={"version": 1, "identical": True},
        seconds_total=12.34,
    )


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_the_untouched_base_is_asked_for_class_nouns() -> None:
    panel = plan_panels(["zigi"])[0]
    assert panel.prompt_for(NOUNS, []) == "a photo of a mug on the grass"
    assert panel.prompt_for(NOUNS, ["zigi"]) == "a photo of a <zigi> mug on the grass"


def test_a_panel_waits_until_all_its_concepts_are_known() -> None:
    two = next(panel for panel in plan_panels(list(NOUNS)) if panel.kind == "two")
    assert two.prompt_for(NOUNS, ["zigi"]) is None
    assert two.prompt_for(NOUNS, ["zigi", "momo"]) == "a photo of a <zigi> mug next to a <momo> cat on the grass"


def test_every_concept_has_its_panels_on_different_backgrounds() -> None:
    panels = plan_panels(list(NOUNS))
    for name in NOUNS:
        own = [panel.template for panel in panels if panel.concepts == (name,)]
        assert len(set(own)) == 3
    assert pairs(list(NOUNS)) == (("zigi", "momo"), ("zigi", "bolt"), ("momo", "bolt"))
    assert sum(panel.kind == "generic" for panel in panels) >= 4


def test_every_picture_has_a_seed_of_its_own_that_stays() -> None:
    panels = plan_panels(list(NOUNS))
    prompts = [panel.prompt_for(NOUNS, list(NOUNS)) for panel in panels]
    requests = plan_requests(panels, prompts, Settings(steps=5, seeds=3))
    assert len({request.seed for request in requests.values()}) == len(requests) == 3 * len(panels)
    fewer = plan_requests(panels, [panel.prompt_for(NOUNS, ["zigi"]) for panel in panels], Settings(steps=5, seeds=3))
    assert all(fewer[key].seed == requests[key].seed for key in fewer)


# --- the report and its checks ----------------------------------------------------------------------------------------


def test_the_report_has_the_keys_that_others_read(report: dict[str, Any]) -> None:
    assert list(report) == ["base", "versions", "scores", "zero_shot", "two_concepts", "rollback", "seconds_total"]
    assert list(report["base"]) == ["id", "sha256_before", "sha256_after"]
    assert list(report["versions"][0]) == [
        *("number", "concept", "delta_sha256", "bytes", "seconds", "density", "overlap", "loss", "diagnosis")
    ]
    assert list(report["versions"][0]["seconds"]) == ["captions", "selection", "learning", "diagnosis"]
    assert list(report["versions"][0]["density"]) == ["base", "general", "concept"]


def test_all_checks_hold_when_all_is_well(report: dict[str, Any]) -> None:
    checks = check_report(report)
    assert len(checks) == 6
    assert [check.sentence for check in checks if not check.holds] == []


@pytest.mark.parametrize(
    ("where", "value", "told"),
    [
        (("base", "sha256_after"), "d", "checksum"),
        (("rollback", "identical"), False, "rolling back to version 1"),
        (("scores", 1, "clip_i"), 0.6, "zigi looks more like"),
        (("zero_shot", 1, "similarity_to_base"), 0.949, "Generic pictures at version 1"),
        (("scores", 1, "clip_t"), float("nan"), "scores[1].clip_t"),
        (("versions", 0, "loss"), [0.1, None], "versions[0].loss[1]"),
        (("versions", 0, "density", "general"), float("inf"), "versions[0].density.general"),
    ],
)
def test_whatever_is_wrong_fails_its_check(
    report: dict[str, Any], where: tuple[str | int, ...], value: object, told: str
) -> None:
    part: Any = report
    for step in where[:-1]:
        part = part[step]
    part[where[-1]] = value
    failed = [check.sentence for check in check_report(report) if not check.holds]
    assert len(failed) == 1
    assert told in failed[0]


def test_a_concept_that_was_never_scored_fails(report: dict[str, Any]) -> None:
    report["scores"] = report["scores"][:1]
    failed = [check.sentence for check in check_report(report) if not check.holds]
    assert len(failed) == 2
    assert all(sentence.startswith("zigi") for sentence in failed)


def test_a_concept_that_fades_fails_even_where_it_is_still_nearer_than_its_noun(report: dict[str, Any]) -> None:
    report["scores"].append({"version": 3, "concept": "zigi", "clip_i": 0.74, "clip_t": 61.0})
    failed = [check.sentence for check in check_report(report) if not check.holds]
    assert failed == ["zigi keeps 92% of its likeness to the last version (at least 95% wanted)."]


def test_a_finding_about_no_concept_is_no_gap(report: dict[str, Any]) -> None:
    assert find_gaps(report) == []


def test_one_different_byte_is_seen() -> None:
    drawing = {(0, 0): Image.new("RGB", (4, 4), (9, 9, 9))}
    other = copy.deepcopy(drawing)
    assert identical(drawing, other)
    other[0, 0].putpixel((3, 3), (9, 9, 8))
    assert not identical(drawing, other)
    assert not identical(drawing, {})


# --- the sheet --------------------------------------------------------------------------------------------------------


def test_pictures_are_enlarged_without_blurring() -> None:
    tile = Image.new("RGB", (64, 64), (10, 20, 30))
    tile.putpixel((63, 63), (250, 0, 0))
    sheet = draw_sheet([SheetColumn("a photo of a mug", "generic")], [SheetRow("version 0", "", [tile])], 64)
    colours = {colour: count for count, colour in sheet.getcolors(100_000) or []}
    assert colours[10, 20, 30] == 4 * (64 * 64 - 1)
    assert colours[250, 0, 0] == 4


def test_a_heading_is_broken_between_words_so_that_it_fits() -> None:
    font = ImageFont.load_default(13)
    lines = wrap_words("a photo of a <zigi> mug in front of a brick wall", font, 128)
    assert len(lines) > 1
    assert all(font.getlength(line) <= 128 for line in lines)
    assert " ".join(lines) == "a photo of a <zigi> mug in front of a brick wall"


# --- samples and phrases ----------------------------------------------------------------------------------------------


def test_the_samples_are_mug_cat_and_robot_with_five_pictures_each() -> None:
    lessons = [load_lesson(SAMPLES_FOLDER / name) for name in SAMPLES]
    assert [lesson.class_noun for lesson in lessons] == ["mug", "cat", "robot"]
    assert [len(lesson.pictures) for lesson in lessons] == [5, 5, 5]


def test_calibration_captions_differ_and_are_always_the_same() -> None:
    captions = diverse_captions(40, seed=41)
    assert len(set(captions)) == 40
    assert captions == diverse_captions(40, seed=41)
    nouns = {noun for noun in ("mug", "cat", "robot", "house", "fish", "car") if any(noun in x for x in captions[:20])}
    assert len(nouns) == 6


def test_the_lists_beside_the_weights_are_what_the_command_writes_and_none_is_judged_by_what_guards_it(
    tmp_path: Path,
) -> None:
    write_phrases(tmp_path)
    for name in HEADINGS:
        assert (MODEL_FOLDER / name).read_text() == (tmp_path / name).read_text()
    assert set(load_calibration_prompts(tmp_path)).isdisjoint(load_generic_prompts(tmp_path))


# --- the whole, tiny --------------------------------------------------------------------------------------------------


def test_the_whole_demo_runs_on_a_tiny_base(judged_folder: Path, tmp_path: Path) -> None:
    settings, learning = Settings(steps=2, seeds=1), LearningSettings(steps=2, batch=2)
    demo = open_demo(judged_folder, SAMPLES_FOLDER, SAMPLES, settings=settings, learning=learning)
    folder = begin_history(tmp_path, judged_folder, demo.base)
    stages: list[str] = []
    report, sheet = run_demo(demo, folder, lambda stage, done, total: stages.append(stage))
    write_results(tmp_path, report, sheet)

    written = json.loads((tmp_path / "report.json").read_text())
    assert written["rollback"] == {"version": 1, "identical": True}
    assert written["base"]["sha256_before"] == written["base"]["sha256_after"]
    assert [version["concept"] for version in written["versions"]] == list(SAMPLES)
    assert [(score["version"], score["concept"]) for score in written["scores"]] == [
        *((0, name) for name in SAMPLES),
        *((version, name) for version in (1, 2, 3) for name in SAMPLES[:version]),
    ]
    assert [entry["version"] for entry in written["zero_shot"]] == [0, 1, 2, 3]
    assert [entry["version"] for entry in written["two_concepts"]] == [2, 3, 3, 3]
    with Image.open(tmp_path / "contact-sheet.png") as picture:
        assert picture.width > 17 * 128
    assert "zigi: learning" in stages
    assert folder.history.head == 3
    assert [move.why for move in folder.history.head_moves][-2:] == ["rolled back", "the demo is over"]
    begin_history(tmp_path, judged_folder, demo.base)  # a second demo in the same place starts afresh


def test_a_demo_without_a_base_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["demo", "--base", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]
    monkeypatch.setattr("sys.argv", arguments)
    assert main() == 1
    assert "There is no base model at" in capsys.readouterr().err
