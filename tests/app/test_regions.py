"""Regions of pictures over REST: checked like the prompt, kept, and told wherever the request is."""

from html import unescape
from typing import Any
from uuid import UUID

import pytest

from app.blobs import keep
from app.db import Sessions
from app.generations.models import Image
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


def test_taking_over_the_settings_of_a_picture_says_that_its_regions_stay_behind(
    taught: Person, sessions: Sessions, store: BlobStore
) -> None:
    pictures = [make_image(sessions, store, asked(taught, *regions).json()["id"]) for regions in ((LEFT, RIGHT), ())]

    def studio(picture: UUID) -> str:
        headers = {"Authorization": f"Bearer {taught.key}", "Accept": "text/html"}
        path = f"/histories/{taught.history_id}"
        return unescape(taught.client.get(path, params={"from": str(picture)}, headers=headers).text)

    assert "made with 2 regions" in studio(pictures[0])
    assert "no fields for them" not in studio(pictures[1])
    call = studio(pictures[1]).partition('"regions"')[2]
    assert call.index('"prompt"') < call.index('"left"') < call.index('"bottom"')  # as people read them
