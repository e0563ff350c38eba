"""The whole benchmark on a tiny base: run, go on, write the page, tune."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from PIL import Image

from benchmarks.continual import __main__ as commands
from benchmarks.continual.__main__ import main
from benchmarks.continual.laboratory import Laboratory, open_laboratory
from tests.benchmarks.lessons import lesson


@pytest.fixture(scope="module")
def workshop(judged_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny base that paints in one step, and two concepts with three pictures each."""
    folder = tmp_path_factory.mktemp("benchmark")
    base = shutil.copytree(judged_folder, folder / "base")
    (base / "generation_settings.json").write_text('{"steps": 1, "guidance": 1.0}')
    (base / "learning_settings.json").write_text('{"steps": 1, "batch": 2, "mixed_precision": false}')
    (base / "generic_prompts.txt").write_text("a red house\na blue mug at night\n")
    for name, noun in (("rex", "dog"), ("tom", "cat")):
        home = folder / "concepts" / f"{name}-{noun}"
        home.mkdir(parents=True)
        for place, picture in enumerate(lesson(name, noun, pictures=3).pictures):
            picture.save(home / f"{place}.png")
    return folder


def command(monkeypatch: pytest.MonkeyPatch, workshop: Path, *arguments: str) -> None:
    places = {"--base": "base", "--concepts": "concepts", "--work": "work", "--results": "results"}
    given = [part for option, place in places.items() for part in (option, str(workshop / place))]
    tuned = ["--tuned", str(workshop / "results" / "continual_tuning.json")]
    monkeypatch.setattr(sys, "argv", ["continual", *arguments, *given, *tuned])
    main()


def test_a_run_is_resumed_and_becomes_a_page(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command(monkeypatch, workshop, "run", "--methods", "cns+,custom,custom-joint,base")
    cells = sorted((workshop / "work" / "continual" / "one").glob("*.json"))
    assert [cell.stem for cell in cells] == ["base-0", "cns+-0", "custom-0", "custom-joint-0"]
    written = {cell: cell.stat().st_mtime_ns for cell in cells}
    cells[0].unlink()  # as if it had been stopped there
    command(monkeypatch, workshop, "run", "--methods", "cns+,custom,base")
    assert [cell.stat().st_mtime_ns == written[cell] for cell in cells] == [False, True, True, True]

    results = json.loads((workshop / "results" / "continual.json").read_text())
    assert {cell["method"] for cell in results["cells"]} == {"base", "cns+", "custom", "custom-joint"}
    assert [len(cell["stages"]) for cell in results["cells"] if cell["method"] in ("cns+", "custom-joint")] == [2, 1]
    assert all(bar.keys() == {"name", "value", "goal", "holds", "against"} for bar in results["bars"])
    assert results["machine"]["cores"] >= 1
    assert "torch" in results["libraries"]

    page = workshop / "docs" / "benchmark.md"
    command(monkeypatch, workshop, "page", "--docs", str(page))
    text = page.read_text()
    for row in results["rows"]:
        assert f"| {row['title']} |" in text
    for bar in results["bars"]:
        assert bar["name"] in text
    assert "Not tuned" in text
    for chart in ("alignment", "generic", "pair"):
        ElementTree.parse(page.with_suffix("") / f"{chart}.svg")  # noqa: S314 (we wrote it ourselves)
        assert f"benchmark/{chart}.svg" in text
    with Image.open(page.with_suffix("") / "sheet.png") as sheet:
        assert sheet.height > 4 * 128


def test_other_settings_are_another_question(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command(monkeypatch, workshop, "run", "--methods", "base", "--name", "other")
    (cell,) = (workshop / "work" / "other" / "one").glob("*.json")
    before = json.loads(cell.read_text())["question"]
    command(monkeypatch, workshop, "run", "--methods", "base", "--name", "other", "--steps", "2")
    assert json.loads(cell.read_text())["question"] != before


def test_settings_are_searched_recorded_and_used(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder's own stream stands in for the storybook's validation stream."""
    named = open_laboratory

    def with_validation(*given: Any, **more: Any) -> Laboratory:
        laboratory = named(*given, **more)
        laboratory.streams["validation"] = replace(laboratory.streams["one"], name="validation").first(1)
        return laboratory

    monkeypatch.setattr(commands, "open_laboratory", with_validation)
    command(monkeypatch, workshop, "tune", "--methods", "textual-inversion", "--trials", "2")
    tuned = json.loads((workshop / "results" / "continual_tuning.json").read_text())["methods"]["textual-inversion"]
    assert len(tuned["trials"]) == 2
    assert tuned["best"]["score"] == max(trial["score"] for trial in tuned["trials"])
    command(monkeypatch, workshop, "sweep", "--options", "ranking")
    sweep = json.loads((workshop / "results" / "continual_sweep.json").read_text())
    assert [one["value"] for one in sweep["sensitivity"]["ranking"]["means"]] == [0, 1, 2]
    command(monkeypatch, workshop, "run", "--methods", "textual-inversion", "--name", "tuned", "--first", "1")
    (cell,) = json.loads((workshop / "results" / "tuned.json").read_text())["cells"]
    assert cell["options"] == tuned["best"]["options"]
    page = workshop / "docs" / "tuned.md"
    command(monkeypatch, workshop, "page", "--name", "tuned", "--docs", str(page))
    assert "`ranking`" in page.read_text()


def test_an_unknown_method_is_refused_by_its_name(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="no method 'custum'"):
        command(monkeypatch, workshop, "run", "--methods", "custum")
    with pytest.raises(SystemExit, match="no stream 'three'"):
        command(monkeypatch, workshop, "run", "--stream", "three")


def test_the_storybooks_streams_need_the_storybook(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["continual", "run", "--base", str(workshop / "base")])
    with pytest.raises(SystemExit, match="name your own pictures by --concepts"):
        main()
