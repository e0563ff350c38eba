"""Whether the concepts of a picture keep apart: asked for over REST and in the studio, and told with the request."""

import html

import pytest

from app.db import Sessions
from app.generations.models import Generation
from app.storage import BlobStore
from tests.app.person import Person
from tests.app.test_regions import browse, make_image, send


def test_they_keep_apart_unless_it_is_said_that_they_may_mix(ada: Person) -> None:
    path = f"/histories/{ada.history_id}/generations"
    for said, kept in (({}, True), ({"apart": True}, True), ({"apart": False}, False)):
        made = ada.ask("POST", path, json={"prompt": "a mug", **said})
        assert made.status_code == 202, made.text
        assert ada.ask("GET", f"/generations/{made.json()['id']}").json()["apart"] is kept
    assert ada.ask("POST", path, json={"prompt": "a mug", "apart": "sometimes"}).status_code == 422


@pytest.mark.parametrize(("typed", "kept"), [({}, True), ({"apart": "yes"}, True), ({"apart": "no"}, False)])
def test_the_studio_asks_and_tells(ada: Person, sessions: Sessions, typed: dict[str, str], kept: bool) -> None:
    assert send(ada, **typed).status_code == 303
    with sessions() as session:
        assert session.query(Generation).one().apart is kept
    page = html.unescape(browse(ada, "GET", f"/histories/{ada.history_id}").text)
    assert ('"apart": false' in page) is not kept  # in the call that asks for the same pictures
    assert ("<dt>Concepts</dt><dd>may mix</dd>" in page) is not kept


def test_all_settings_of_a_picture_include_the_choice(ada: Person, sessions: Sessions, store: BlobStore) -> None:
    path = f"/histories/{ada.history_id}/generations"
    for kept in (True, False):
        asked = ada.ask("POST", path, json={"prompt": "a mug", "apart": kept}).json()
        picture = make_image(sessions, store, asked["id"])
        page = browse(ada, "GET", f"/histories/{ada.history_id}?from={picture}").text
        assert ('<option value="no" selected>' in page) is not kept
        told = html.unescape(browse(ada, "GET", f"/images/{picture}").text)
        assert ('"apart": false' in told, "<dd>may mix</dd>" in told) == (not kept, not kept)


def test_a_form_that_is_refused_keeps_the_choice(ada: Person) -> None:
    page = send(ada, apart="no", steps="0")
    assert page.status_code == 422
    assert '<option value="no" selected>' in page.text
