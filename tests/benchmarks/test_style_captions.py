"""A style is learned with three kinds of captions, and all of them are judged by the same pictures."""

from benchmarks.continual.storybook_streams import storybook_streams
from benchmarks.style_captions import caption_styles
from cns.captions import RetrievalCaptioner
from cns.judge import load_judge
from storybook import MODEL_FOLDER


def test_the_captioner_says_of_a_style_what_is_drawn_and_of_a_thing_only_where_it_is() -> None:
    dusk = next(one for one in storybook_streams()["validation"].concepts if one.name == "dusk")
    captioner = RetrievalCaptioner.of_base(load_judge(MODEL_FOLDER / "clip"), MODEL_FOLDER)
    said = caption_styles(dusk, captioner)
    assert said["people"] == dusk.lesson.captions
    assert all(caption.startswith("a photo of a <dusk> drawing") for caption in said["captioner, as of a thing"])
    assert all(caption.startswith("a <dusk> drawing of a ") for caption in said["captioner, as of a manner"])
    assert {len(captions) for captions in said.values()} == {len(dusk.lesson.pictures)}
