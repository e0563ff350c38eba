"""Regions of pictures, over REST and in the studio: checked like the prompt, kept, told wherever the request is."""

import html
from typing import Any
from uuid import UUID

import httpx
import pytest

from app.blobs import keep
from app.db import Sessions
from app.generations.models import Generation, Image
from app.histories.models import History
from app.storage import BlobStore
from tests.app import make
from tests.app.person import Person, painted

LEFT: dict[str, Any] = {"prompt": "a <rex> dog", "left": 0, "top": 0, "right": 0.5, "bottom": 1}
RIGHT: dict[str, Any] = {"prompt": "a red mug", "left": 0.5, "top": 0.25, "right": 1, "bottom": 1}


@pytest.fixture
def taught(ada: Person, sessions: Sessions) -> Person:
    """Ada, whose history knows <rex>."""
    with sessions() as session:
        history = session.get_one(History, ada.history_id)
        history.head_id = make.version(session, history, 1, "rex").id
        session.commit()
    return ada


def asked(person: Person, *regions: dict[str, Any], **facts: Any) -> Any:
    body = {"prompt": "a dog next to a mug", "regions": list(regions), **facts}
    return person.ask("POST", f"/histories/{person.history_id}/generations", json=body)


def test_regions_are_kept_with_the_request_in_order(taught: Person) -> None:
    made = asked(taught, LEFT | {"prompt": "  a <rex> dog "}, RIGHT)
    assert made.status_code == 202, made.text
    again = taught.ask("GET", f"/generations/{made.json()['id']}").json()
    assert again["regions"] == [LEFT, RIGHT]
    without = taught.ask("POST", f"/histories/{taught.history_id}/generations", json={"prompt": "a mug"}).json()
    assert without["regions"] == []


@pytest.mark.parametrize(
    ("changed", "field", "said"),
    [
        ({"prompt": " "}, "regions.1.prompt", "What shall be in region 2?"),
        ({"prompt": "x" * 2001}, "regions.1.prompt", "The prompt of region 2 has at most 2000 characters"),
        ({"prompt": "a <tom> cat"}, "regions.1.prompt", "This version does not know <tom>. It knows <rex>."),
        ({"left": 0.5, "right": 0.5}, "regions.1.left", "Region 2 must lie inside the picture"),
        ({"top": 0.9, "bottom": 0.1}, "regions.1.left", "Region 2 must lie inside the picture"),
        ({"right": 1.5}, "regions.1.right", ""),
        ({"colour": "red"}, "regions.1.colour", ""),
    ],
)
def test_a_region_that_cannot_be_is_refused_by_its_field(
    taught: Person, changed: dict[str, Any], field: str, said: str
) -> None:
    answer = asked(taught, LEFT, RIGHT | changed)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert said in answer.json()["detail"]


def test_more_regions_than_a_picture_can_have_are_refused(taught: Person) -> None:
    assert asked(taught, *[RIGHT] * 8).status_code == 202
    answer = asked(taught, *[RIGHT] * 9)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "regions")


def test_a_key_that_came_with_other_regions_is_refused(taught: Person) -> None:
    headers = {"Idempotency-Key": "k"}
    path = f"/histories/{taught.history_id}/generations"
    first = taught.ask("POST", path, json={"prompt": "a mug", "regions": [RIGHT]}, headers=headers)
    again = taught.ask("POST", path, json={"prompt": "a mug", "regions": [RIGHT]}, headers=headers)
    assert first.json()["id"] == again.json()["id"]
    assert taught.ask("POST", path, json={"prompt": "a mug", "regions": [LEFT]}, headers=headers).status_code == 422


def make_image(sessions: Sessions, store: BlobStore, generation_id: str) -> UUID:
    with sessions() as session:
        digest = keep(session, store, painted(), "image/png")
        image = Image(generation_id=generation_id, position=0, seed=0, blob_sha256=digest, width_px=80, height_px=72)
        session.add(image)
        session.commit()
        return image.id


def test_the_gallery_finds_a_concept_that_stands_in_a_region_alone(
    taught: Person, sessions: Sessions, store: BlobStore
) -> None:
    generation = asked(taught, LEFT).json()
    make_image(sessions, store, generation["id"])
    assert len(taught.ask("GET", "/images", params={"concept": "rex"}).json()["items"]) == 1
    assert taught.ask("GET", "/images", params={"concept": "tom"}).json()["items"] == []


# --- the studio -----------------------------------------------------------------------------------------------------


def typed(place: int, prompt: str, *edges: str) -> dict[str, str]:
    """The fields of one region."""
    return {
        f"regions.{place}.{part}": text
        for part, text in zip(("prompt", "left", "top", "right", "bottom"), (prompt, *edges), strict=True)
    }


def browse(person: Person, method: str, path: str, **options: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {person.key}", "Accept": "text/html"}
    return person.client.request(method, path, headers=headers, follow_redirects=False, **options)


def send(person: Person, **fields: str) -> httpx.Response:
    data = {"prompt": "a dog next to a mug", "count": "1", **fields}
    return browse(person, "POST", f"/histories/{person.history_id}/generations", data=data)


def value_of(page: httpx.Response, name: str) -> str:
    """What stands in the field of that name."""
    tag = page.text.split(f' name="{name}"', 1)[1].split(">", 1)[0]
    return html.unescape(tag.split('value="', 1)[1].split('"', 1)[0])


def test_boxes_are_fields_in_percent_and_empty_ones_are_left_out(taught: Person, sessions: Sessions) -> None:
    empty = typed(0, " ", "", "", "", "")
    sent = empty | typed(2, "a <rex> dog", "0", "0", "50", "100") | typed(5, "a red mug", "50", "25,0", "100", "100")
    assert send(taught, **sent).status_code == 303
    with sessions() as session:
        assert session.query(Generation).one().regions == [LEFT, RIGHT]
    page = browse(taught, "GET", f"/histories/{taught.history_id}")
    assert "Region 2</dt><dd>a red mug" in page.text
    assert "&#34;regions&#34;: [{&#34;prompt&#34;" in page.text  # the call to be copied has them too
    assert value_of(page, "regions.0.prompt") == ""


@pytest.mark.parametrize(
    ("region", "said"),
    [
        (("a <tom> cat", "0", "0", "50", "100"), "This version does not know <tom>"),
        (("", "0", "0", "50", "100"), "What shall be in region 1?"),
        (("a mug", "0", "", "50", "100"), "Where is the top edge of region 1"),
        (("a mug", "left", "0", "50", "100"), "The left edge of region 1 must be a number"),
        (("a mug", "0", "0", "150", "100"), "Region 1 must lie inside the picture"),
    ],
)
def test_a_box_that_cannot_be_is_said_beside_its_field_and_kept(
    taught: Person, region: tuple[str, ...], said: str
) -> None:
    page = send(taught, **typed(3, *region))
    assert page.status_code == 422
    assert said in html.unescape(page.text)
    assert [value_of(page, name) for name in typed(0, *region)] == list(region)
    assert "data-regions open" in page.text
    assert value_of(page, "regions.3.prompt") == ""


def test_all_settings_of_a_picture_include_its_boxes(taught: Person, sessions: Sessions, store: BlobStore) -> None:
    third = {"prompt": "a house", "left": 0.07, "top": 1 / 3, "right": 0.55, "bottom": 1}
    picture = make_image(sessions, store, asked(taught, LEFT, third).json()["id"])
    page = browse(taught, "GET", f"/histories/{taught.history_id}?from={picture}")
    call = html.unescape(page.text).partition('"regions"')[2]
    assert call.index('"prompt"') < call.index('"left"') < call.index('"bottom"')  # as people read them
    names = [*typed(0, *"abcde"), *typed(1, *"abcde")]
    fields = {name: value_of(page, name) for name in names}
    assert (fields["regions.0.right"], fields["regions.1.left"]) == ("50", "7")
    assert send(taught, **fields).status_code == 303
    with sessions() as session:
        latest = session.query(Generation).order_by(Generation.created_at.desc()).limit(1).one()
    assert latest.regions[0] == LEFT
    assert latest.regions[1] == pytest.approx(third)
    assert "Region 1</dt><dd>a <span" in browse(taught, "GET", f"/images/{picture}").text
