"""The whole benchmark on a tiny base: run, go on, write the page, tune."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image

from benchmarks.continual import __main__ as commands
from benchmarks.continual.__main__ import main
from benchmarks.continual.laboratory import Laboratory, open_laboratory
from benchmarks.continual.method import Budget
from benchmarks.continual.registry import all_methods
from benchmarks.continual.results import read_results
from benchmarks.continual.settings_page import describe_sweep
from benchmarks.continual.tuning import tuned_alike
from cns.own_settings import load_usual_settings
from cns.phrases import load_calibration_prompts
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
    places = {"--base": "base", "--concepts": "concepts", "--results": "results", "--docs": "docs/benchmark.md"}
    given = [part for option, place in places.items() for part in (option, str(workshop / place))]
    tuned = ["--tuned", str(workshop / "results" / "continual_tuning.json")]
    monkeypatch.setattr(sys, "argv", ["continual", arguments[0], *given, *tuned, *arguments[1:]])
    main()


def test_a_run_is_resumed_and_becomes_a_page(
    workshop: Path, monkeypatch: pytest.MonkeyPatch, device: torch.device
) -> None:
    there = ("--device", str(device))
    command(monkeypatch, workshop, "run", "--methods", "cns+,custom,custom-joint,base", *there)
    cells = sorted((workshop / "results" / "continual" / "one").glob("*.json"))
    assert [cell.stem for cell in cells] == ["base-0", "cns+-0", "custom-0", "custom-joint-0"]
    written = {cell: cell.stat().st_mtime_ns for cell in cells}
    cells[0].unlink()  # as if it had been stopped there
    command(monkeypatch, workshop, "run", "--methods", "cns+,custom,base", *there)
    assert [cell.stat().st_mtime_ns == written[cell] for cell in cells] == [False, True, True, True]

    results = read_results(workshop / "results" / "continual.json")
    assert {cell["method"] for cell in results["cells"]} == {"base", "cns+", "custom", "custom-joint"}
    assert [len(cell["stages"]) for cell in results["cells"] if cell["method"] in ("cns+", "custom-joint")] == [2, 1]
    assert all(bar.keys() == {"name", "value", "goal", "holds", "against"} for bar in results["bars"])
    assert all(cell["machine"]["cores"] >= 1 for cell in results["cells"])
    assert all("torch" in cell["libraries"] for cell in results["cells"])

    page = workshop / "docs" / "benchmark.md"
    command(monkeypatch, workshop, "page")
    text = page.read_text()
    for row in results["rows"]:
        assert f"| {row['title']} |" in text
    for bar in results["bars"]:
        assert bar["name"] in text
    assert "Not tuned" in text
    shown = ["pair"] if any(row["figures"]["pair_present"]["mean"] for row in results["rows"]) else []
    assert ("pair.svg" in text) == bool(shown), "no chart of zeros"
    for chart in ("alignment", "generic", *shown):
        ElementTree.parse(page.with_suffix("") / f"{chart}.svg")  # noqa: S314 (we wrote it ourselves)
        assert f"benchmark/{chart}.svg" in text
    for name in ("taught", "cns+", "custom", "custom-joint", "base"):
        assert f"(benchmark/one-{name}.png)" in text
        with Image.open(page.with_suffix("") / f"one-{name}.png") as strip:
            assert strip.height == 64
    assert "Run once: Every method" in text
    assert "Not tuned: any method" in text
    assert "*Two together* counts 3 pictures a run: one more or less is 0.333." in text
    assert (
        "Not run on this stream: CNS at the token alone (ours), CNS at the token alone, drawn as by all others" in text
    )


def test_a_run_of_the_other_order_adds_a_table_and_leaves_the_bars_and_the_curves_where_they_were(
    workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for stream in ("one", "two"):
        command(monkeypatch, workshop, "run", "--methods", "base", "--name", "continual-orders", "--stream", stream)
        results = read_results(workshop / "results" / "continual-orders.json")
        assert results["stream"] == "one"
    assert [row["stream"] for row in results["rows"]] == ["one", "two"]
    assert results["orders"]["two"] == results["orders"]["one"][::-1]
    command(monkeypatch, workshop, "page", "--name", "continual-orders")
    text = (workshop / "docs" / "benchmark.md").read_text()
    assert f"In this order: {', '.join(results['orders']['two'])}." in text.split("## The table, stream two")[1]


def test_cells_that_are_run_beside_each_other_are_the_same_ones(
    workshop: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Also of a stream that is cut; and what is there is left as it is."""
    figures = {}
    for at_once in ("1", "2"):
        places = ("--results", str(tmp_path / at_once), "--docs", str(tmp_path / at_once / "docs" / "benchmark.md"))
        asked = ("run", "--methods", "cns+,custom,base", "--first", "1", "--at-once", at_once, *places)
        command(monkeypatch, workshop, *asked)
        cells = sorted((tmp_path / at_once).rglob("one-first-1/*.json"))
        assert [cell.stem for cell in cells] == ["base-0", "cns+-0", "custom-0"]
        assert len(list((tmp_path / at_once).rglob("one-first-1-*.png"))) == 4  # one a method, and what was taught
        results = read_results(tmp_path / at_once / "continual.json")
        figures[at_once] = {
            cell["method"]: cell["stages"][-1]["concepts"]["rex"]["clip"]["similarity"] for cell in results["cells"]
        }
        written = [cell.stat().st_mtime_ns for cell in cells]
        command(monkeypatch, workshop, *asked)
        assert [cell.stat().st_mtime_ns for cell in cells] == written
    assert figures["2"] == pytest.approx(figures["1"], abs=1e-3)


def test_what_goes_wrong_beside_another_cell_is_said_and_ends_the_run(
    workshop: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "continual").write_text("a file where the folder of cells would be")
    with pytest.raises(OSError, match="continual"):
        command(monkeypatch, workshop, "run", "--methods", "cns+,base", "--at-once", "2", "--results", str(tmp_path))


def test_other_settings_are_another_question(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command(monkeypatch, workshop, "run", "--methods", "base", "--name", "other")
    (cell,) = (workshop / "results" / "other" / "one").glob("*.json")
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
    command(monkeypatch, workshop, "tune", "--methods", "textual-inversion", "--trials", "3")
    longer = json.loads((workshop / "results" / "continual_tuning.json").read_text())["methods"]["textual-inversion"]
    assert longer["trials"][:2] == tuned["trials"]
    assert len(longer["trials"]) == 3
    tuned = longer
    command(monkeypatch, workshop, "sweep", "--options", "ranking")
    sweep = json.loads((workshop / "results" / "continual_sweep.json").read_text())
    assert [one["value"] for one in sweep["sensitivity"]["ranking"]["means"]] == [0, 1, 2]
    assert "ranking" not in sweep["left"]
    assert {"steps", "fraction"} < set(sweep["left"])
    assert "Not tried so: `lr_token`" in describe_sweep(sweep)
    assert "Not tried so" not in describe_sweep({**sweep, "left": []})
    command(monkeypatch, workshop, "run", "--methods", "textual-inversion", "--name", "tuned", "--first", "1")
    (cell,) = read_results(workshop / "results" / "tuned.json")["cells"]
    assert cell["options"] == tuned["best"]["options"]
    page = workshop / "docs" / "tuned.md"
    command(monkeypatch, workshop, "page", "--name", "tuned", "--docs", str(page))
    text = page.read_text()
    assert "`ranking`" in text
    assert "cut after 1 of its 2 concepts" in text
    assert "Not tuned" not in text

    trials = {file: file.stat().st_mtime_ns for file in (workshop / "results" / "tuning").rglob("*.json")}
    (workshop / "results" / "continual_tuning.json").unlink()  # as if another machine had the trials alone
    command(monkeypatch, workshop, "tune", "--methods", "textual-inversion", "--trials", "3")
    again = json.loads((workshop / "results" / "continual_tuning.json").read_text())["methods"]["textual-inversion"]
    assert again == tuned
    assert {file: file.stat().st_mtime_ns for file in trials} == trials


def test_options_that_were_found_with_other_steps_are_not_used(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laboratory = open_laboratory(workshop / "base", concepts=workshop / "concepts")
    budget = Budget.of(laboratory.settings)
    found = laboratory.setup(laboratory.streams["one"], budget)
    assert tuned_alike(found, {**found, "stream": "another"})
    assert not tuned_alike(found, laboratory.setup(laboratory.streams["one"], replace(budget, steps=2)))


def test_a_stream_that_is_cut_does_not_take_the_place_of_the_whole(
    workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(monkeypatch, workshop, "run", "--methods", "base", "--name", "cut")
    command(monkeypatch, workshop, "run", "--methods", "base", "--name", "cut", "--first", "1")
    folder = workshop / "results" / "cut"
    assert {file.parent.name for file in folder.rglob("*.json")} == {"one", "one-first-1"}


def test_no_method_is_shown_the_prompts_that_generic_ability_is_judged_by(workshop: Path) -> None:
    base = shutil.copytree(workshop / "base", workshop / "leaking")
    prompts = [f"a red house number {number}" for number in range(22)]
    (base / "calibration_prompts.txt").write_text("\n".join(["a red house", *prompts]))
    laboratory = open_laboratory(base, concepts=workshop / "concepts")
    shown = {one.name: one.given["calibration"] for one in laboratory.methods.values() if "calibration" in one.given}
    assert "cns+" in shown
    assert all(one == prompts for one in shown.values())


def test_a_default_of_one_method_is_no_reason_to_run_the_others_again(workshop: Path) -> None:
    laboratory = open_laboratory(workshop / "base", concepts=workshop / "concepts")
    usual = load_usual_settings(workshop / "base")
    far = {**usual.by_reach, "everywhere": replace(usual.by_reach["everywhere"], drift=7.0)}
    methods = all_methods(replace(usual, by_reach=far), load_calibration_prompts(), guidance=1.0)
    changed = replace(laboratory, methods=methods)

    def questions(one: Laboratory) -> dict[str, str]:
        stream, budget = one.streams["one"], Budget.of(one.settings)
        return {name: one.question(method, stream, budget, method.options) for name, method in one.methods.items()}

    before, after = questions(laboratory), questions(changed)
    assert {name for name in before if before[name] != after[name]} == {"cns+"}


def test_an_unknown_method_is_refused_by_its_name(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="no method 'custum'"):
        command(monkeypatch, workshop, "run", "--methods", "custum")
    with pytest.raises(SystemExit, match="no stream 'three'"):
        command(monkeypatch, workshop, "run", "--stream", "three")


def test_the_storybooks_streams_need_the_storybook(workshop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["continual", "run", "--base", str(workshop / "base")])
    with pytest.raises(SystemExit, match="name your own pictures by --concepts"):
        main()
