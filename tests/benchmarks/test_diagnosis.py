"""The calibration of the diagnosis: who is learned, how thresholds are set, and what is counted."""

import json
import xml.etree.ElementTree as ElementTree
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from benchmarks.continual.storybook_streams import STYLES as STYLES_OF_STREAMS
from benchmarks.diagnosis.bench import Bench, learning_key
from benchmarks.diagnosis.fitting import Sample, fit_limits, fit_thresholds
from benchmarks.diagnosis.histogram import draw_histogram
from benchmarks.diagnosis.measures import Measures, judge
from benchmarks.diagnosis.page import draw_figures, write_page
from benchmarks.diagnosis.plan import ALL, RECIPES, make_stages, plan_cases
from benchmarks.diagnosis.report import confuse, count_cures, make_bars, make_results
from benchmarks.diagnosis.running import Record, Remedied, answer_case, case_question, name_case, run_case
from benchmarks.kept import Kept
from benchmarks.two_tones import TwoTones
from cns.base_model import BaseModel
from cns.captions import TemplateCaptioner
from cns.diagnosis import Thresholds
from cns.examination import ExaminationSettings
from cns.judge import load_judge
from cns.learning import LearningRun
from cns.own_settings import UsualSettings
from cns.settings import LearningSettings, SelectionSettings
from storybook.individuals import SAMPLES
from tests import tiny_clip

HEALTHY = Measures(share=0.8, width=0.2, similarity=0.99, alignment_lost=0.0, bleeding=0.02, forgetting=0.02)
QUICK = LearningSettings(steps=2, batch=2, selection=SelectionSettings(general_prompts=2))
USUAL = UsualSettings(QUICK, {"everywhere": QUICK, "token": replace(QUICK, reach="token")})


def record(recipe: str, measures: Measures, split: str = "fit", remedies: tuple[Remedied, ...] = ()) -> Record:
    return Record(0, split, recipe, ("tiger", "cocoa"), "misty", {}, 1.0, measures, remedies)


# --- the plan ---------------------------------------------------------------------------------------------------------


def test_the_samples_of_the_demo_take_no_part_and_nobody_is_learned_twice_in_a_history() -> None:
    for stage in make_stages():
        people = [stage.first, stage.second, stage.similar, stage.other]
        assert len({who.name for who in people}) == 4
        assert stage.style not in STYLES_OF_STREAMS
        assert not {who.name for who in people} & set(SAMPLES)
        assert stage.similar.noun == stage.first.noun
        assert stage.other.noun not in (stage.first.noun, stage.second.noun)


def test_every_signature_is_made_in_two_ways_where_one_is_not_enough_and_the_same_recipes_serve_every_history() -> None:
    for signature in ALL:
        assert any(signature in recipe.made_for for recipe in RECIPES)
        assert sum(signature in recipe.free_of for recipe in RECIPES) >= 3
    assert not any(recipe.made_for & recipe.free_of for recipe in RECIPES)
    first, second = plan_cases(2 * len(RECIPES))[:: len(RECIPES)]
    assert (first.stage.split, second.stage.split) == ("fit", "held out")
    with pytest.raises(ValueError, match="not 0"):
        plan_cases(0)


def test_a_recipe_changes_what_it_says_and_leaves_the_rest_as_usual() -> None:
    near = LearningSettings(steps=260, lr_weights=0.01, reach="token")
    far = replace(near, lr_weights=0.005, reach="everywhere")
    usual = UsualSettings(near, {"token": near, "everywhere": far})
    by_name = {recipe.name: recipe.settings(usual) for recipe in RECIPES}
    assert by_name["usual"] == near
    assert by_name["few steps"] == replace(near, steps=17)
    reckless = next(recipe for recipe in RECIPES if recipe.name == "reckless")
    assert reckless.before(usual) == far
    assert by_name["reckless"].lr_weights == pytest.approx(reckless.factors["lr_weights"] * 0.005)
    assert (by_name["reckless"].drift, by_name["reckless"].selection.general_prompts) == (0, 0)


# --- thresholds -------------------------------------------------------------------------------------------------------


def test_two_kinds_that_lie_apart_are_parted_in_the_middle_of_the_gap() -> None:
    limits = fit_limits([0.0, 0.1], [0.5, 0.7, 0.9], high_is_bad=True)
    assert (limits.warn, limits.bad) == (0.3, 0.5)  # half of the way from 0.3 to the median, 0.7
    mirrored = fit_limits([1.0, 0.9], [0.5, 0.3, 0.1], high_is_bad=False)
    assert (mirrored.warn, mirrored.bad) == (0.7, 0.5)


def test_where_they_overlap_the_fewest_errors_count_and_nothing_healthy_is_called_bad() -> None:
    healthy = [0.0, 0.01, 0.02, 0.03, 0.5]
    limits = fit_limits(healthy, [0.4, 0.6, 0.7, 0.8], high_is_bad=True)
    assert 0.03 < limits.warn < 0.4  # one false alarm of five rather than one missed of four
    assert limits.bad > 0.5


def test_a_measure_that_must_not_alarm_lies_beyond_everything_healthy() -> None:
    limits = fit_limits([0.0, 0.1, 0.3], [0.2, 0.25, 0.4], high_is_bad=True, never_alarm=True)
    assert 0.3 < limits.warn < 0.4
    nothing_to_find = fit_limits([0.0, 0.3], [0.1, 0.2], high_is_bad=True, never_alarm=True)
    assert nothing_to_find.warn > 0.3


def test_thresholds_without_samples_stay_as_they_were_and_values_are_needed_of_both_kinds() -> None:
    few = [
        Sample(HEALTHY, frozenset(), ALL),
        Sample(replace(HEALTHY, share=0.1), frozenset(("underfitting",)), frozenset()),
    ]
    fitted = fit_thresholds(few, Thresholds())
    assert fitted == replace(Thresholds(), underfitting_warn=0.45, underfitting_bad=fitted.underfitting_bad)
    with pytest.raises(ValueError, match="both kinds"):
        fit_limits([], [1.0], high_is_bad=True)


def test_nobody_is_warned_of_a_loss_that_nobody_sees() -> None:
    well, ill = replace(HEALTHY, forgetting=0.0), replace(HEALTHY, forgetting=0.004)
    samples = [Sample(well, frozenset(), ALL), Sample(ill, frozenset(("forgetting",)), frozenset())]
    limits = fit_thresholds(samples, Thresholds())
    assert (limits.forgetting_warn, limits.forgetting_bad) == (0.02, 0.02)
    samples.append(Sample(replace(HEALTHY, forgetting=0.4), frozenset(("forgetting",)), frozenset()))
    limits = fit_thresholds(samples, Thresholds())
    assert limits.forgetting_warn < limits.forgetting_bad < 0.4


def test_measures_are_judged_by_the_functions_that_judge_a_persons_learning() -> None:
    assert set(judge(HEALTHY, Thresholds()).values()) == {"ok"}
    ill = Measures(share=0.1, width=0.2, similarity=0.9, alignment_lost=0.0, bleeding=0.2, forgetting=0.5)
    assert judge(ill, Thresholds()) == {
        "underfitting": "bad", "zero-shot damage": "warn", "bleeding": "warn", "forgetting": "bad",
    }  # fmt: skip
    assert judge(replace(HEALTHY, alignment_lost=0.2), Thresholds())["zero-shot damage"] == "bad"


# --- what is counted --------------------------------------------------------------------------------------------------


def test_only_what_is_known_beforehand_is_counted() -> None:
    drifted = replace(HEALTHY, similarity=0.5, bleeding=0.9)
    records = [
        record("usual", HEALTHY),
        record("usual", drifted),
        record("reckless", drifted),
        record("reckless", HEALTHY),
    ]
    outcome = confuse(records, Thresholds())
    assert asdict(outcome["zero-shot damage"]) == {
        "found": 1, "missed": 1, "false_alarms": 1, "rightly_quiet": 1, "wrongly_bad": 1,
    }  # fmt: skip
    bleeding = outcome["bleeding"]  # nobody knows whether the reckless ones have it
    assert (bleeding.found, bleeding.missed, bleeding.false_alarms, bleeding.rightly_quiet) == (0, 0, 1, 1)


def test_a_remedy_counts_where_its_signature_was_found_and_holds_from_eight_of_ten() -> None:
    ill = replace(HEALTHY, share=0.1)
    cured = Remedied("underfitting", "260 steps instead of 17", {"steps": 260}, HEALTHY)
    uncured = replace(cured, measures=ill)
    records = [record("few steps", ill, remedies=(cured,))] * 4 + [record("few steps", ill, remedies=(uncured,))]
    records.append(record("few steps", HEALTHY, remedies=(uncured,)))  # never found, so nothing to remove
    cures = count_cures(records, Thresholds())
    assert (cures["underfitting"].tried, cures["underfitting"].removed) == (5, 4)
    bars = {bar.name: bar for bar in make_bars(cures)}
    assert bars["the remedy removes underfitting"].holds
    assert (bars["the remedy removes bleeding"].value, bars["the remedy removes bleeding"].holds) == (None, False)


def test_the_page_says_what_the_results_say() -> None:
    ill = replace(HEALTHY, share=0.1)
    cured = Remedied("underfitting", "260 steps instead of 17", {"steps": 260}, HEALTHY)
    records = [
        maker
        for split in ("fit", "held out")
        for maker in (record("usual", HEALTHY, split), record("few steps", ill, split, (cured,)))
    ]
    about = {"quick": False, "base_id": "b" * 64, "machine": {"processor": "a processor", "cores": 2}, "versions": {}}
    results = json.loads(json.dumps(make_results(records, about)))
    page = write_page(results, "diagnosis")
    assert "| underfitting | 1 | 0 | 0 | 1 | 0 |" in page
    assert "| underfitting | 2 | 2 | 80 % | yes |" in page
    assert "quick run" not in page
    assert "quick run" in write_page({**results, "quick": True}, "diagnosis")
    for svg in draw_figures(results).values():
        ElementTree.fromstring(svg)  # noqa: S314 - our own text
    assert Record.from_json(results["cases"][1]).remedies == (cured,)


def test_a_histogram_shows_every_learning() -> None:
    svg = draw_histogram("share < 1", [0.8, 0.8, 0.9], [0.1], 0.4, 0.2)
    assert svg.count("<circle") == 4
    assert "share &lt; 1" in svg
    with pytest.raises(ValueError, match="needs values"):
        draw_histogram("nothing", [], [], 0.4, 0.2)


# --- one case ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def bench(sd1: BaseModel, tmp_path: Path) -> Bench:
    clip = load_judge(tiny_clip.build_clip(tmp_path / "clip"))
    return Bench(
        base=sd1,
        judge=clip,
        likeness=clip,
        captioner=TemplateCaptioner(),
        usual=USUAL,
        examination=ExaminationSettings(("a photo of a {}",), generic_pictures=1, steps=2),
        calibration=("a red house", "a cat at night"),
        generic=("a blue robot",),
        folder=tmp_path / "kept",
    )


def test_a_case_that_was_broken_off_goes_on_with_what_was_learned(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = plan_cases(len(RECIPES))[1]
    begun: list[str] = []

    def stop_at_the_third(what: str) -> None:
        if len(begun) == 2:
            raise TimeoutError
        begun.append(what)

    with pytest.raises(TimeoutError):
        run_case(bench, case, stop_at_the_third)
    steps = 0
    original = LearningRun.step

    def counted(run: LearningRun) -> float:
        nonlocal steps
        steps += 1
        return original(run)

    monkeypatch.setattr(LearningRun, "step", counted)
    done = run_case(bench, case, lambda _: None)
    assert steps == 1 + QUICK.steps  # the case itself in one step, and its remedy; no history
    assert [(one.signature, one.changes) for one in done.remedies] == [("underfitting", {"steps": QUICK.steps})]
    assert run_case(bench, case, lambda _: None) == done
    assert steps == 1 + QUICK.steps
    assert Record.from_json(json.loads(json.dumps(done.to_json()))) == done


def test_a_finished_case_is_read_where_its_learnings_are_not(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on another machine, which has the tree and nothing else."""
    case, kept = plan_cases(len(RECIPES))[1], Kept(tmp_path / "cases")
    done = answer_case(bench, case, kept, lambda _: None)
    elsewhere = replace(bench, folder=tmp_path / "nothing")

    def may_not(run: LearningRun) -> float:
        raise AssertionError("learned again")

    monkeypatch.setattr(LearningRun, "step", may_not)
    again = answer_case(elsewhere, case, kept, lambda _: None)
    assert (again.recipe, again.remedies[0].changes) == (done.recipe, done.remedies[0].changes)
    assert again.measures.share == pytest.approx(done.measures.share, rel=1e-5)
    with pytest.raises(AssertionError, match="learned again"):
        answer_case(replace(elsewhere, usual=USUAL.changed({"drift": 7.0})), case, kept, lambda _: None)


def test_every_case_has_a_file_and_a_question_of_its_own(bench: Bench) -> None:
    cases = plan_cases(2 * len(RECIPES))
    assert len({name_case(case) for case in cases}) == len(cases)
    assert len({case_question(bench, case) for case in cases}) == len(cases)


def test_what_was_learned_or_measured_otherwise_is_not_read_again(bench: Bench) -> None:
    """Whatever changes a case's question changes where its learnings are looked for."""
    who, settings, captions = TwoTones("noir", "navy", "cream"), USUAL.own, ("a drawing of a cat",)
    keys = [
        learning_key(bench, (), who, settings, captions),
        learning_key(replace(bench, generic=("a red robot",)), (), who, settings, captions),
        learning_key(replace(bench, calibration=("a red house",)), (), who, settings, captions),
        learning_key(bench, (), replace(who, dark="black"), settings, captions),
        learning_key(bench, (), who, settings, ("a drawing of a dog",)),
    ]
    assert len(set(keys)) == len(keys)
