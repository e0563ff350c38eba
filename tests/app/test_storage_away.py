"""Requests while the storage does not do what it is asked for: 503 with a sentence, and no half of anything is kept."""

import errno
import shutil
from typing import Any

import jinja2
import pytest
from sqlalchemy import select

from app.blobs import Blob
from app.concepts import api
from app.concepts.models import Concept, ConceptPicture, Upload
from app.db import Sessions
from app.generations.models import Image
from app.jobs.models import Job
from app.storage import BlobStore
from tests.app.person import Person, png
from tests.app.test_pages import Ask, ask, picture, tree  # noqa: F401 - fixtures

FILE = ("pictures", ("dog.png", png(), "image/png"))
AWAY = "The storage cannot be reached. Try again in a moment."
FULL = "The server's storage is full, so nothing more can be kept now."


def rows(sessions: Sessions) -> list[Any]:
    with sessions() as session:
        return [one for kind in (Upload, Concept, ConceptPicture, Blob, Job) for one in session.scalars(select(kind))]


def take_away(store: BlobStore) -> None:
    """Something else lies where the folder was, as where a volume was not mounted."""
    shutil.rmtree(store.blobs.folder, ignore_errors=True)
    store.blobs.folder.write_bytes(b"")


def test_what_is_stored_cannot_be_had_while_the_storage_is_away(
    ada: Person,
    picture: Image,  # noqa: F811
    store: BlobStore,
) -> None:
    take_away(store)
    for kind in ("file", "thumbnail", "recipe"):
        answer = ada.ask("GET", f"/images/{picture.id}/{kind}")
        assert (answer.status_code, answer.json()["detail"]) == (503, AWAY), kind


def test_what_is_sent_while_the_storage_is_away_is_not_kept_by_half(
    ask: Ask,  # noqa: F811
    ada: Person,
    store: BlobStore,
    sessions: Sessions,
) -> None:
    take_away(store)
    taught = ada.teach("rex")
    assert (taught.status_code, taught.json()["detail"]) == (503, AWAY)
    dropped = ask("POST", "/uploads", files=[FILE])
    assert (dropped.status_code, AWAY in dropped.text) == (503, True)
    assert rows(sessions) == []


@pytest.mark.usefixtures("full_disk")
def test_a_storage_that_is_full_is_told_of(
    ask: Ask,  # noqa: F811
    ada: Person,
    sessions: Sessions,
) -> None:
    taught = ada.teach("rex")
    assert (taught.status_code, taught.json()["detail"]) == (503, FULL)
    dropped = ask("POST", "/uploads", files=[FILE])
    assert (dropped.status_code, "storage is full" in dropped.text) == (503, True)
    assert rows(sessions) == []


@pytest.mark.parametrize("error", [ConnectionResetError(errno.ECONNRESET, "gone"), jinja2.TemplateNotFound("ours")])
def test_errors_of_the_same_family_that_are_not_the_storages_are_not_told_of_as_such(
    ada: Person, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(api, "check_picture", fail)
    answer = ada.teach("rex")
    assert (answer.status_code, "Something went wrong on our side" in answer.json()["detail"]) == (500, True)
