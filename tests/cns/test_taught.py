"""What earlier concepts were taught with is encoded once for a line, and means the same wherever it was begun."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from cns.base_model import BaseModel
from cns.compose import Version, compose, extend
from cns.delta import Delta
from cns.losses import feature_moment
from cns.taught import TaughtMoment, prompts_of
from cns.text import TextFeatures
from tests.cns.test_learning import SETTINGS, concept, run

NAMES = ("rex", "momo", "zigi")


def learn_on(base: BaseModel, version: Version, name: str) -> Delta:
    learning = run(base, version, concept(name, "dog", seed=len(name)), SETTINGS)
    while not learning.done:
        learning.step()
    return learning.finish()


@pytest.fixture(scope="module", params=["sd1", "sdxl"])
def base(request: pytest.FixtureRequest) -> BaseModel:
    found: BaseModel = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def line(base: BaseModel) -> tuple[Delta, ...]:
    """Concepts taught one after another, each on a version made of the one before. Values, which no test changes."""
    version = compose(base)
    for name in NAMES:
        version = extend(base, version, [learn_on(base, version, name)])
    return version.deltas


def test_it_is_the_mean_over_all_that_the_concepts_were_taught_with(base: BaseModel, line: Sequence[Delta]) -> None:
    version = compose(base, line)
    prompts = [prompt for _, taught in prompts_of(line) for prompt in taught]
    expected = feature_moment(base.text_features(prompts, version.tokens).hidden)
    found = TaughtMoment().grow(base, version.deltas, version.tokens)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert len(prompts) == len(NAMES) * 4  # three captions and the plain name of each


@pytest.mark.parametrize("seen", [0, 1, 2, 3])
def test_it_is_the_same_to_the_bit_wherever_it_was_begun(base: BaseModel, line: Sequence[Delta], seen: int) -> None:
    version, begun = compose(base, line), TaughtMoment()
    for length in range(1, seen + 1):
        begun.grow(base, line[:length], version.tokens)
    whole = TaughtMoment().grow(base, version.deltas, version.tokens)
    assert torch.equal(begun.grow(base, version.deltas, version.tokens), whole)


def test_a_version_hands_on_what_it_has_and_keeps_its_own(base: BaseModel, line: Sequence[Delta]) -> None:
    below = compose(base, line[:2])
    kept = below.taught.grow(base, below.deltas, below.tokens)
    above = extend(base, below, line[2:])
    assert (above.taught.concepts, below.taught.concepts) == (2, 2)
    above.taught.grow(base, above.deltas, above.tokens)
    assert (above.taught.concepts, below.taught.concepts) == (3, 2)
    assert torch.equal(below.taught.grow(base, below.deltas, below.tokens), kept)


def test_a_learning_encodes_the_captions_of_the_last_concept_and_of_none_before(
    sd1: BaseModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    encode = BaseModel.text_features

    def listen(base: BaseModel, prompts: Sequence[str], *rest: object) -> TextFeatures:
        encoded.extend(prompts)
        return encode(base, prompts, *rest)  # type: ignore[arg-type]

    version = compose(sd1)
    for name in NAMES:
        encoded.clear()
        monkeypatch.setattr(BaseModel, "text_features", listen)
        delta = learn_on(sd1, version, name)
        monkeypatch.undo()
        below, last = [one.concept for one in version.deltas[:-1]], [one.concept for one in version.deltas[-1:]]
        assert not any(f"<{earlier}>" in prompt for earlier in below for prompt in encoded)
        assert all(any(f"<{earlier}>" in prompt for prompt in encoded) for earlier in last)
        version = extend(sd1, version, [delta])


def test_what_is_learned_does_not_depend_on_how_the_version_came_about(base: BaseModel) -> None:
    version = compose(base)
    for name in NAMES:
        delta = learn_on(base, version, name)
        assert delta.digest == learn_on(base, compose(base, version.deltas), name).digest
        version = extend(base, version, [delta])


# --- captions that name other concepts --------------------------------------------------------------------------------


def captioned(delta: Delta, *captions: str) -> Delta:
    return replace(delta, report={**delta.report, "captions": list(captions)})


def test_captions_leave_out_whom_the_line_does_not_know_when_they_are_met(line: Sequence[Delta]) -> None:
    rex, momo, zigi = line
    momo = captioned(momo, "a <momo> dog next to a <rex> dog", "a <zigi> dog and <momo>")
    (_, alone), *_ = prompts_of([momo, zigi, rex])
    assert alone == ("a photo of a <momo> dog", "a <momo> dog next to a dog", "a dog and <momo>")
    _, (_, after) = prompts_of([rex, momo])
    assert after == ("a photo of a <momo> dog", "a <momo> dog next to a <rex> dog", "a dog and <momo>")


def test_a_caption_that_names_a_forgotten_concept_stops_no_later_learning(
    base: BaseModel, line: Sequence[Delta]
) -> None:
    rex, momo, _ = line
    momo = captioned(momo, "a photo of <momo> dog next to a <rex> dog")
    without = compose(base, [momo])
    assert learn_on(base, without, "zigi").size > 0
    plain = compose(base, [captioned(momo, "a photo of <momo> dog next to a dog")])
    one, other = (version.taught.grow(base, version.deltas, version.tokens) for version in (without, plain))
    assert torch.equal(one, other)
    known = compose(base, [rex, momo])
    assert not torch.equal(known.taught.grow(base, known.deltas, known.tokens), one)


def test_a_caption_may_name_a_concept_that_stays_at_its_token(base: BaseModel, line: Sequence[Delta]) -> None:
    rex, momo, _ = line
    version = compose(base, [replace(rex, reach="token"), captioned(momo, "a <momo> dog next to a <rex> dog")])
    assert learn_on(base, version, "zigi").size > 0
    expected = feature_moment(
        base.text_features(["a photo of a <momo> dog", "a <momo> dog next to a <rex> dog"], version.tokens).hidden
    )
    found = version.taught.grow(base, version.deltas, version.tokens)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_a_name_that_is_learned_anew_is_not_the_one_that_was_forgotten(base: BaseModel, line: Sequence[Delta]) -> None:
    rex, momo, _ = line
    momo = captioned(momo, "a <momo> dog next to a <rex> dog")
    below = compose(base, [momo])
    begun = below.taught.grow(base, below.deltas, below.tokens)
    above = extend(base, below, [rex])
    whole = compose(base, [momo, rex])
    grown = above.taught.grow(base, above.deltas, above.tokens)
    assert torch.equal(grown, whole.taught.grow(base, whole.deltas, whole.tokens))
    assert not torch.equal(grown, begun)


def test_a_line_without_concepts_is_refused(sd1: BaseModel) -> None:
    with pytest.raises(ValueError, match="taught with nothing"):
        TaughtMoment().grow(sd1, (), {})


def test_a_concept_that_could_not_be_encoded_is_encoded_the_next_time(
    base: BaseModel, line: Sequence[Delta], monkeypatch: pytest.MonkeyPatch
) -> None:
    version, moment = compose(base, line), TaughtMoment()
    encode = BaseModel.text_features

    def run_out(base: BaseModel, prompts: Sequence[str], *rest: object) -> TextFeatures:
        if "<momo>" in prompts[0]:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return encode(base, prompts, *rest)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(BaseModel, "text_features", run_out)
        with pytest.raises(torch.OutOfMemoryError):
            moment.grow(base, version.deltas, version.tokens)
    assert moment.concepts == 1
    whole = TaughtMoment().grow(base, version.deltas, version.tokens)
    assert torch.equal(moment.grow(base, version.deltas, version.tokens), whole)
