"""An examination sees what was done to a version, makes no picture twice, and survives being stored."""

import json
from collections import UserDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from cns import series as series_module
from cns.base_model import BaseModel
from cns.compose import Version, compose
from cns.delta import Delta
from cns.denoise import GenerationRequest, generate
from cns.diagnosis import Finding, Thresholds
from cns.examination import Examination, ExaminationError, ExaminationSettings, StudiedConcept, examine
from cns.judge import Judge, load_judge
from cns.metrics import clip_i
from cns.preprocessing import Pictures, to_pillow
from cns.series import Series, make_series, picture_key
from tests import tiny_clip

FEW = ExaminationSettings(
    templates=("a photo of a {}", "a {} on grass"), generic_pictures=2, steps=2, guidance=2.0, seed=3
)
# Pictures of a random model depend on the seed more than on anything else, so likeness is tested with a single seed.
ONE = replace(FEW, templates=("a photo of a {}",))
# One reference twice makes a scale here, as that very picture can be drawn.
TWICE = Thresholds(most_alike=2.0)
GENERIC = ("the red house at night", "a blue robot", "never reached")


class PixelJudge:
    """Likeness of small thumbnails, sharp where a random CLIP finds everything alike."""

    id = "pixels"

    def image_features(self, pictures: Pictures) -> Tensor:
        """Pictures -> their pixels around the mean, each row of length 1."""
        pictures = to_pillow(pictures) if isinstance(pictures, Tensor) else pictures
        rows = [list(picture.convert("RGB").resize((8, 8)).tobytes()) for picture in pictures]
        pixels = torch.tensor(rows, dtype=torch.float32)
        return normalize(pixels - pixels.mean(dim=1, keepdim=True), dim=-1)


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Judge:
    return load_judge(tiny_clip.build_clip(tmp_path_factory.mktemp("examination") / "clip"))


def delta_on(base: BaseModel, name: str, noun: str = "dog", *, factor: float | None = None, seed: int = 0) -> Delta:
    """A delta that gives `name` a token of its own and, with a factor, multiplies every value of K and V by it."""
    generator = torch.Generator().manual_seed(seed)
    token = tuple(torch.randn(v.shape, generator=generator) * 4 for v in base.token_vectors(noun))
    layers = base.kv_weights if factor is not None else {}
    return Delta(
        name,
        noun,
        base.id,
        None,
        {layer: torch.arange(weight.numel()) for layer, weight in layers.items()},
        {layer: (weight.flatten() * (factor or 1)).half() for layer, weight in layers.items()},
        {layer: (weight.shape[0], weight.shape[1]) for layer, weight in layers.items()},
        token,
        settings={"steps": 150},
    )


def draw(base: BaseModel, version: Version, subject: str) -> list[Image.Image]:
    """Twice the very picture that an examination makes of a subject."""
    request = GenerationRequest(f"a photo of a {subject}", seed=ONE.seed, steps=ONE.steps, guidance=ONE.guidance)
    return 2 * to_pillow(torch.stack(generate(base, version, [request])))


def draw_manner(base: BaseModel, version: Version) -> list[Image.Image]:
    """The very picture that an examination makes of <noir>, once."""
    prompt = "a <noir> drawing of a house"
    request = GenerationRequest(prompt, seed=ONE.seed, steps=ONE.steps, guidance=ONE.guidance)
    return to_pillow(torch.stack(generate(base, version, [request])))


def finding(examination: Examination, signature: str, concept: str | None = None) -> Finding:
    found = [one for one in examination.findings if one.signature == signature and one.concept == concept]
    assert len(found) == 1
    return found[0]


def look(
    base: BaseModel,
    judge: Judge,
    before: Version,
    after: Version,
    concept: StudiedConcept,
    earlier: Sequence[StudiedConcept] = (),
    thresholds: Thresholds = TWICE,
) -> Examination:
    """Examine likeness by pixels, with one seed."""
    return examine(
        base,
        judge,
        before,
        after,
        concept,
        earlier,
        generic_prompts=GENERIC,
        settings=ONE,
        likeness=PixelJudge(),
        thresholds=thresholds,
    )


def test_a_concept_drawn_as_its_references_is_learned(sd1: BaseModel, judge: Judge) -> None:
    after = compose(sd1, [delta_on(sd1, "rex", factor=20.0)])
    rex = StudiedConcept("rex", "dog", draw(sd1, after, "<rex> dog"))
    examination = look(sd1, judge, compose(sd1), after, rex)
    scores = examination.concepts["rex"]
    assert scores.share == pytest.approx(1)
    assert scores.scale.width > 0.02
    assert finding(examination, "underfitting", "rex").severity == "ok"
    assert -1 <= scores.clip_t <= 1
    assert 0 <= scores.clip_score <= 250


@pytest.mark.parametrize("times", [1, 2])
def test_of_a_single_picture_nobody_says_that_it_was_badly_learned(sd1: BaseModel, judge: Judge, times: int) -> None:
    goal = compose(sd1, [delta_on(sd1, "rex", factor=20.0)])
    rex = StudiedConcept("rex", "dog", draw(sd1, goal, "<rex> dog")[:times])
    hardly = replace(delta_on(sd1, "rex"), token_vectors=sd1.token_vectors("dog"))
    examination = look(sd1, judge, compose(sd1), compose(sd1, [hardly]), rex, thresholds=Thresholds())
    found = finding(examination, "underfitting", "rex")
    assert found.severity == "warn"
    assert found.sentence.startswith("Nobody can say by numbers how well <rex> was learned")


def test_a_concept_drawn_as_its_class_noun_is_underfitted(sd1: BaseModel, judge: Judge) -> None:
    goal = compose(sd1, [delta_on(sd1, "rex", factor=20.0)])
    rex = StudiedConcept("rex", "dog", draw(sd1, goal, "<rex> dog"))
    hardly = replace(delta_on(sd1, "rex"), token_vectors=sd1.token_vectors("dog"))
    underfitted = finding(look(sd1, judge, compose(sd1), compose(sd1, [hardly]), rex), "underfitting", "rex")
    assert underfitted.severity == "bad"
    assert "500 steps instead of 150" in underfitted.remedy
    assert "2 are few" in underfitted.remedy


def test_generic_prompts_under_untouched_weights_give_the_bases_own_pictures(sd1: BaseModel, judge: Judge) -> None:
    rex = StudiedConcept("rex", "dog", tiny_clip.random_pictures(3))
    examination = examine(
        sd1, judge, compose(sd1), compose(sd1, [delta_on(sd1, "rex")]), rex, generic_prompts=GENERIC, settings=FEW
    )
    assert examination.zero_shot.similarity_to_base == pytest.approx(1)
    assert examination.zero_shot.clip_t == pytest.approx(examination.zero_shot.base_clip_t)
    assert finding(examination, "zero-shot damage").severity == "ok"


def test_changed_weights_show_in_generic_prompts(sd1: BaseModel, judge: Judge) -> None:
    rex = StudiedConcept("rex", "dog", tiny_clip.random_pictures(3))
    after = compose(sd1, [delta_on(sd1, "rex", factor=20.0)])
    examination = examine(sd1, judge, compose(sd1), after, rex, generic_prompts=GENERIC, settings=FEW)
    assert examination.zero_shot.similarity_to_base < 0.999


def test_an_earlier_concept_that_is_left_alone_is_neither_bled_into_nor_forgotten(sd1: BaseModel, judge: Judge) -> None:
    first, second = delta_on(sd1, "rex", factor=20.0), delta_on(sd1, "zigi", "mug", seed=1)
    before, after = compose(sd1, [first]), compose(sd1, [first, second])
    rex = StudiedConcept("rex", "dog", draw(sd1, before, "<rex> dog"))
    right_after = look(sd1, judge, compose(sd1), before, rex).concepts["rex"]
    zigi = StudiedConcept("zigi", "mug", tiny_clip.random_pictures(3))
    examination = look(sd1, judge, before, after, zigi, [replace(rex, right_after=right_after)])
    assert finding(examination, "bleeding", "rex").value == pytest.approx(0, abs=1e-6)
    assert finding(examination, "forgetting", "rex").value == pytest.approx(0, abs=1e-6)
    assert examination.concepts["rex"] == right_after


def test_of_a_manner_the_judge_says_how_like_its_references_it_is(sd1: BaseModel, judge: Judge) -> None:
    first, second = delta_on(sd1, "noir", "drawing"), delta_on(sd1, "rex", factor=20.0, seed=1)
    before, after = compose(sd1, [first]), compose(sd1, [first, second])
    noir = StudiedConcept("noir", "drawing", tiny_clip.random_pictures(3))
    rex = StudiedConcept("rex", "dog", draw(sd1, after, "<rex> dog"))
    right_after = look(sd1, judge, compose(sd1), before, noir).concepts["noir"]
    alone = examine(sd1, judge, compose(sd1), before, noir, generic_prompts=GENERIC, settings=ONE)
    assert right_after == alone.concepts["noir"]
    # Each of the two is seen by who knows it, and what the one became of the other by who knows the other.
    examination = look(sd1, judge, before, after, rex, [replace(noir, right_after=right_after)])
    assert examination.concepts["rex"].share == pytest.approx(1)
    assert finding(examination, "forgetting", "noir").value > 0
    pixels = PixelJudge()
    seen = [pixels.image_features(draw_manner(sd1, version)) for version in (before, after)]
    references = pixels.image_features(rex.references)
    towards = [examination.concepts["rex"].scale.share(clip_i(one, references)) for one in seen]
    lost = right_after.share - examination.concepts["noir"].share
    expected = max(towards[1] - towards[0], lost)
    assert finding(examination, "bleeding", "noir").value == pytest.approx(expected, abs=1e-5)


def test_a_concept_that_is_drawn_as_the_new_one_bleeds_and_is_forgotten(sd1: BaseModel, judge: Judge) -> None:
    first = delta_on(sd1, "rex", factor=20.0)
    second = delta_on(sd1, "zigi", "mug", factor=-20.0, seed=1)  # lies over every value of the first
    before, after = compose(sd1, [first]), compose(sd1, [first, second])
    rex = StudiedConcept("rex", "dog", draw(sd1, before, "<rex> dog"))
    right_after = look(sd1, judge, compose(sd1), before, rex).concepts["rex"]
    zigi = StudiedConcept("zigi", "mug", draw(sd1, after, "<rex> dog"))
    examination = look(sd1, judge, before, after, zigi, [replace(rex, right_after=right_after)])
    assert finding(examination, "bleeding", "rex").severity == "bad"
    assert finding(examination, "forgetting", "rex").severity == "bad"


def test_scores_of_another_judge_or_other_settings_are_not_compared(sd1: BaseModel, judge: Judge) -> None:
    first, second = delta_on(sd1, "rex"), delta_on(sd1, "zigi", "mug", seed=1)
    before, after = compose(sd1, [first]), compose(sd1, [first, second])
    rex = StudiedConcept("rex", "dog", tiny_clip.random_pictures(2))
    by_clip = examine(sd1, judge, compose(sd1), before, rex, generic_prompts=GENERIC, settings=FEW)
    known = replace(rex, right_after=by_clip.concepts["rex"])
    zigi = StudiedConcept("zigi", "mug", tiny_clip.random_pictures(2))
    examination = look(sd1, judge, before, after, zigi, [known])
    assert not [one for one in examination.findings if one.signature == "forgetting"]
    assert finding(examination, "bleeding", "rex").severity == "ok"


def test_no_picture_is_made_twice(sd1: BaseModel, judge: Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def counted(base: BaseModel, version: Version, requests: Sequence[GenerationRequest], **options: object) -> object:
        asked.extend(request.prompt for request in requests)
        return generate(base, version, requests, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(series_module, "generate", counted)
    first, second = delta_on(sd1, "rex"), delta_on(sd1, "zigi", "dog", seed=1)
    before, after = compose(sd1, [first]), compose(sd1, [first, second])
    rex = StudiedConcept("rex", "dog", tiny_clip.random_pictures(2))
    zigi = StudiedConcept("zigi", "dog", tiny_clip.random_pictures(2, seed=1))
    made: dict[str, Tensor] = {}
    one = examine(sd1, judge, compose(sd1), before, rex, generic_prompts=GENERIC, settings=FEW, made=made)
    assert len(asked) == 2 + 2 + 2 + 2  # rex, any dog, generic on the base, generic now
    asked.clear()
    known = replace(rex, right_after=one.concepts["rex"])
    two = examine(sd1, judge, before, after, zigi, [known], generic_prompts=GENERIC, settings=FEW, made=made)
    assert len(asked) == 2 + 2 + 2  # zigi, rex, generic now; dogs, base and rex before are there already
    asked.clear()
    again = examine(sd1, judge, before, after, zigi, [known], generic_prompts=GENERIC, settings=FEW, made=made)
    assert asked == []
    assert again == two
    alone = examine(sd1, judge, before, after, zigi, [known], generic_prompts=GENERIC, settings=FEW)
    assert alone.zero_shot.similarity_to_base == pytest.approx(two.zero_shot.similarity_to_base, abs=1e-4)


def test_the_default_examination_makes_few_pictures(sd1: BaseModel, judge: Judge) -> None:
    made: dict[str, Tensor] = {}
    quick = ExaminationSettings(steps=1, guidance=1.0)
    deltas = [delta_on(sd1, "rex"), delta_on(sd1, "zigi", "mug", seed=1)]
    rex, zigi = (StudiedConcept(delta.concept, delta.class_noun, tiny_clip.random_pictures(2)) for delta in deltas)
    before, after = compose(sd1, deltas[:1]), compose(sd1, deltas)
    one = examine(sd1, judge, compose(sd1), before, rex, settings=quick, made=made)
    assert len(made) == 14
    known = replace(rex, right_after=one.concepts["rex"])
    examine(sd1, judge, before, after, zigi, [known], settings=quick, made=made)
    assert len(made) == 14 + 13


def test_progress_counts_every_step_once(sd1: BaseModel, judge: Judge) -> None:
    told: list[tuple[int, int]] = []
    rex = StudiedConcept("rex", "dog", tiny_clip.random_pictures(2))
    after = compose(sd1, [delta_on(sd1, "rex")])
    examine(
        sd1,
        judge,
        compose(sd1),
        after,
        rex,
        generic_prompts=GENERIC,
        settings=FEW,
        on_step=lambda done, total: told.append((done, total)),
    )
    assert [total for _, total in told] == [16] * len(told)  # 8 pictures of 2 steps
    assert [done for done, _ in told] == sorted({done for done, _ in told})
    assert told[-1] == (16, 16)


def test_an_examination_survives_json(sd1: BaseModel, judge: Judge) -> None:
    rex = StudiedConcept("rex", "dog", tiny_clip.random_pictures(2))
    after = compose(sd1, [delta_on(sd1, "rex")])
    examination = examine(sd1, judge, compose(sd1), after, rex, generic_prompts=GENERIC, settings=FEW)
    written = json.dumps(examination.to_json(), allow_nan=False)
    assert Examination.from_json(json.loads(written)) == examination
    assert json.loads(written)["concepts"]["rex"]["share"] == examination.concepts["rex"].share
    with pytest.raises(ExaminationError, match="no examination"):
        Examination.from_json({"concept": "rex"})


def test_examining_writes_nothing_into_the_base(sd1: BaseModel, judge: Judge, tmp_path: Path) -> None:
    before = sd1.checksum()
    rex = StudiedConcept("rex", "dog", tiny_clip.random_pictures(2))
    after = compose(sd1, [delta_on(sd1, "rex", factor=2.0)])
    examine(sd1, judge, compose(sd1), after, rex, generic_prompts=GENERIC, settings=FEW)
    assert sd1.checksum() == before


def test_what_cannot_be_examined_is_refused(sd1: BaseModel, judge: Judge) -> None:
    bare, after = compose(sd1), compose(sd1, [delta_on(sd1, "rex")])
    rex, zigi = (StudiedConcept(name, "dog", tiny_clip.random_pictures(1)) for name in ("rex", "zigi"))
    with pytest.raises(ExaminationError, match="does not know <zigi>"):
        examine(sd1, judge, bare, after, zigi)
    with pytest.raises(ExaminationError, match="<zigi> is no concept of both"):
        examine(sd1, judge, bare, after, rex, [zigi])
    with pytest.raises(ExaminationError, match="at least one prompt"):
        examine(sd1, judge, bare, after, rex, generic_prompts=())
    with pytest.raises(ExaminationError, match="in its place"):
        ExaminationSettings(templates=("a photo",))
    with pytest.raises(ExaminationError, match="at least one picture"):
        ExaminationSettings(pictures_per_prompt=0)


def test_a_picture_has_another_name_under_another_version_or_request(sd1: BaseModel) -> None:
    bare, after = compose(sd1), compose(sd1, [delta_on(sd1, "rex")])
    request = GenerationRequest("a dog")
    keys = {picture_key(sd1, version, one) for version in (bare, after) for one in (request, replace(request, seed=1))}
    assert len(keys) == 4
    assert picture_key(sd1, compose(sd1), GenerationRequest("a dog")) in keys


def test_a_series_holds_its_pictures_in_the_order_of_its_requests(sd1: BaseModel) -> None:
    bare = compose(sd1)
    requests = tuple(GenerationRequest("a dog", seed=seed, steps=2, guidance=1.0) for seed in (5, 4, 5))
    (made,) = make_series(sd1, [Series(bare, requests)])
    assert made.shape == (3, 3, 16, 16)
    assert torch.equal(made[0], made[2])
    torch.testing.assert_close(made[1], generate(sd1, bare, requests[1:2])[0], atol=1e-4, rtol=0)


def test_a_series_is_whole_though_what_keeps_its_pictures_forgets_them(sd1: BaseModel) -> None:
    """As a memory does that is bounded, where pictures are large."""

    class Newest(UserDict[str, torch.Tensor]):
        def __setitem__(self, name: str, picture: torch.Tensor) -> None:
            self.data = {name: picture}

    bare, after, kept = compose(sd1), compose(sd1, [delta_on(sd1, "rex")]), Newest()
    requests = tuple(GenerationRequest("a dog", seed=seed, steps=1, guidance=1.0) for seed in (1, 2))
    for _ in range(2):  # the second time one of them is still there, until another is made
        made = make_series(sd1, [Series(bare, requests), Series(after, requests)], made=kept)
        assert [pictures.shape for pictures in made] == [(2, 3, 16, 16)] * 2
        assert len(kept) == 1
