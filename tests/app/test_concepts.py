"""Pictures become a learning: what is taken, what is refused and with which sentence."""

import html
import json
import threading
from collections.abc import Sequence
from datetime import timedelta
from io import BytesIO
from typing import Any
from uuid import UUID

import pytest
from fastapi.testclient import TestClient
from PIL import Image
from sqlalchemy import func, select, update

from app.concepts import service
from app.concepts.models import Concept, ConceptPicture, Upload
from app.config import Settings
from app.db import Sessions, UnitOfWork
from app.errors import AppError, Conflict, Invalid, NotFound, TooMany
from app.histories.head import move_head
from app.histories.models import History
from app.jobs.models import Job, JobEvent
from app.main import create_app
from app.pictures import CheckedPicture, check_picture
from app.queue import LEARN
from app.storage import BlobStore
from app.thumbnails import make_thumbnail, thumbnail_name
from tests.app import make
from tests.app.person import Person, make_person, png
from tests.app.test_pictures import animated, bomb

LIMITS = Settings(max_open_jobs=3, max_files=4)


def checked(count: int = 3, seed: int = 0) -> list[CheckedPicture]:
    return [check_picture(png(seed + number), f"{number}.png", LIMITS) for number in range(count)]


class Teacher:
    """Starts learnings as its user, and notes the messages that left."""

    def __init__(self, person: Person, sessions: Sessions, store: BlobStore):
        self.person, self.store, self.sessions = person, store, sessions
        self.sent: list[tuple[str, dict[str, str]]] = []
        self.uow = UnitOfWork(sessions, lambda task, *, kwargs, queue: self.sent.append((task, kwargs)))

    def teach(self, name: str = "rex", class_noun: str = "dog", **given: Any) -> Job:
        given = {"pictures": checked()} | given if "upload_ids" not in given else given
        return service.start_learning(
            self.uow,
            self.store,
            LIMITS,
            self.person.id,
            self.person.history_id,
            name=name,
            class_noun=class_noun,
            **given,
        )

    def upload(self, seed: int = 0) -> UUID:
        return service.keep_upload(self.uow, self.store, self.person.id, checked(1, seed)[0]).id


@pytest.fixture
def teacher(ada: Person, sessions: Sessions, store: BlobStore) -> Teacher:
    return Teacher(ada, sessions, store)


def count(sessions: Sessions, rows: type) -> int:
    with sessions() as session:
        return session.scalar(select(func.count()).select_from(rows)) or 0


def test_a_learning_has_its_pictures_in_order_its_first_event_and_one_message(
    teacher: Teacher, sessions: Sessions, store: BlobStore
) -> None:
    job = teacher.teach("<rex>", "  little \n dog ", captions=["a  dog\non grass", "", "a dog"])
    assert teacher.sent == [(LEARN, {"job_id": str(job.id)})]
    with sessions() as session:
        concept = session.get_one(Concept, job.concept_id)
        assert (concept.name, concept.class_noun) == ("rex", "little dog")
        pictures = service.pictures_of(session, concept.id)
        assert [(one.file_name, one.caption) for one in pictures] == [
            ("0.png", "a dog on grass"),
            ("1.png", None),
            ("2.png", "a dog"),
        ]
        assert all(store.get(one.blob_sha256).startswith(b"\x89PNG") for one in pictures)
        assert [event.data for event in session.scalars(select(JobEvent))] == [{"state": "queued"}]


def test_uploads_that_waited_become_the_concepts_pictures_and_wait_no_more(
    teacher: Teacher, sessions: Sessions
) -> None:
    ids = [teacher.upload(seed) for seed in range(3)]
    job = teacher.teach(upload_ids=ids[1:], captions=["second", "third"])
    with sessions() as session:
        pictures = service.pictures_of(session, job.concept_id) if job.concept_id else []
        assert [one.caption for one in pictures] == ["second", "third"]
        assert session.scalars(select(Upload.id)).all() == [ids[0]]


def test_an_upload_of_somebody_else_or_that_is_gone_starts_nothing(
    teacher: Teacher, bob: Person, sessions: Sessions, store: BlobStore
) -> None:
    his = Teacher(bob, sessions, store).upload()
    gone = teacher.upload(1)
    service.drop_upload(teacher.uow, teacher.person.id, gone)
    for upload_id in (his, gone):
        with pytest.raises(Invalid, match="Upload it again"):
            teacher.teach(upload_ids=[upload_id])
        with pytest.raises(NotFound):
            service.drop_upload(teacher.uow, teacher.person.id, upload_id)
    assert count(sessions, Job) == count(sessions, Concept) == 0
    assert teacher.sent == []


def test_uploads_are_forgotten_after_a_day(teacher: Teacher, sessions: Sessions) -> None:
    old, fresh = teacher.upload(0), teacher.upload(1)
    with sessions() as session:
        yesterday = func.now() - timedelta(hours=25)
        session.execute(update(Upload).where(Upload.id == old).values(created_at=yesterday))
        service.drop_old_uploads(session)
        session.commit()
        assert session.scalars(select(Upload.id)).all() == [fresh]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "two words"}, "name"),
        ({"name": "x" * 61}, "name"),
        ({"name": "rex<"}, "name"),
        ({"name": "rëx"}, "name"),
        ({"class_noun": " "}, "class_noun"),
        ({"class_noun": "x" * 61}, "class_noun"),
        ({"class_noun": "a <dog>"}, "class_noun"),
        ({"class_noun": "a\x00dog"}, "class_noun"),
        ({"pictures": []}, "pictures"),
        ({"pictures": checked(1) * 5}, "pictures"),
        ({"captions": ["only one"]}, "captions"),
        ({"captions": ["x" * 501, "", ""]}, "captions"),
        ({"captions": ["\ud800", "", ""]}, "captions"),
    ],
)
def test_what_cannot_be_taught_is_refused_beside_its_field(
    given: dict[str, Any], field: str, teacher: Teacher, sessions: Sessions
) -> None:
    with pytest.raises(Invalid) as refused:
        teacher.teach(**given)
    assert refused.value.field == field
    assert refused.value.message.endswith((".", "mug."))
    assert count(sessions, Concept) == 0
    assert teacher.sent == []


def test_a_line_knows_each_name_once_but_two_branches_may_both(teacher: Teacher, sessions: Sessions) -> None:
    with sessions() as session:
        history = session.get_one(History, teacher.person.history_id)
        history.head_id = make.version(session, history, 1, "rex").id
        session.commit()
    with pytest.raises(Conflict, match="This version knows <rex> already"):
        teacher.teach("rex")
    move_head(teacher.uow, teacher.person.id, teacher.person.history_id, 0)
    assert teacher.teach("rex").state == "queued"


def test_two_that_teach_the_same_name_at_once_start_one_learning(teacher: Teacher, sessions: Sessions) -> None:
    outcomes: list[str] = []

    def teach() -> None:
        try:
            Teacher(teacher.person, sessions, teacher.store).teach("rex")
            outcomes.append("started")
        except Conflict:
            outcomes.append("refused")

    threads = [threading.Thread(target=teach) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["refused"] * 3 + ["started"]
    assert count(sessions, Job) == 1


def test_too_many_open_jobs_are_refused_with_a_time_to_come_again(teacher: Teacher) -> None:
    for name in ("rex", "momo", "mug"):
        teacher.teach(name)
    with pytest.raises(TooMany, match="3 jobs waiting or running") as refused:
        teacher.teach("fern")
    assert refused.value.retry_after_s > 0


def test_every_file_that_cannot_be_used_is_named_and_nothing_is_started(ada: Person, sessions: Sessions) -> None:
    files: Sequence[Any] = [
        ("pictures", ("good.png", png(), "image/png")),
        ("pictures", ("drawing.svg", b"<svg/>", "image/svg+xml")),
        ("pictures", ("../cut.jpg", png(format_="JPEG")[:500], "image/jpeg")),
    ]
    answer = ada.ask(
        "POST", f"/histories/{ada.history_id}/concepts", data={"name": "rex", "class_noun": "dog"}, files=files
    )
    assert answer.status_code == 422
    said = [error["message"] for error in answer.json()["errors"]]
    assert [one.partition(" ")[0] for one in said] == ["drawing.svg", "cut.jpg"]
    assert count(sessions, ConceptPicture) == count(sessions, Job) == 0


RUBBISH = {
    "drawing.svg": (
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "is a text with markup (SVG, HTML), not a photograph.",
    ),
    "page.jpg": (b"<!DOCTYPE html><html><script>alert(1)</script>", "is a text with markup (SVG, HTML)"),
    "cut.jpg": (png(format_="JPEG", size=(400, 400))[:3000], "is damaged or cut off"),
    "film.webp": (animated("WEBP"), "is animated (2 frames). Send a still picture."),
    "moving.gif": (animated("GIF"), "is not a picture we can read."),
    "empty.jpg": (b"", "is empty."),
    "bomb.png": (bomb(), "has more than 50 megapixels."),
    "song.mp3": (b"ID3\x04" + bytes(300), "is not a picture we can read."),
    "large.png": (png() + bytes(1_000_000), "is too large: a file may have at most 1 MB."),
}


def test_every_kind_of_rubbish_answers_with_its_sentence(config: Settings, sessions: Sessions) -> None:
    """To a program all at once; on the page each beside the others, which are kept."""
    small = config.model_copy(update={"max_file_bytes": 1_000_000})
    with TestClient(create_app(small, lambda *_args, **_kwargs: None)) as client:
        person = make_person(client, sessions, "ada")
        files: Sequence[Any] = [("pictures", (name, data, "image/png")) for name, (data, _) in RUBBISH.items()]
        files = [*files, ("pictures", ("good.png", png(), "image/png"))]
        about = {"name": "rex", "class_noun": "dog"}
        refused = person.ask("POST", f"/histories/{person.history_id}/concepts", data=about, files=files)
        assert refused.status_code == 422
        said = [error["message"] for error in refused.json()["errors"]]
        headers = {"Authorization": f"Bearer {person.key}", "Accept": "text/html"}
        page = client.post(f"/histories/{person.history_id}/teach", data=about, files=files, headers=headers)
        assert page.status_code == 422
        for (name, (_, sentence)), told in zip(RUBBISH.items(), said, strict=True):
            assert told.startswith(f"{name} {sentence}"), told
            assert html.escape(told) in page.text
        assert page.text.count("data-upload=") == 1
    assert count(sessions, Job) == 0


def test_every_setting_that_cannot_be_is_named(ada: Person) -> None:
    wrong = {"steps": 0, "stesp": 3, "selection": {"fraction": 2}}
    answer = ada.teach("rex", data={"settings": json.dumps(wrong)})
    assert answer.status_code == 422
    fields = {error["field"] for error in answer.json()["errors"]}
    assert fields == {"settings.steps", "settings.stesp", "settings.selection.fraction"}
    for text in ('{"l1": 1e999}', '{"l1": NaN}', '{"seed": 9223372036854775808}', "null", "[]", '"steps"'):
        answer = ada.teach("rex", data={"settings": text})
        assert answer.status_code == 422, text
        assert answer.json()["detail"].startswith("settings"), text


@pytest.mark.parametrize("captions", ['"one"', "[1, 2, 3]", "{}", "[", "[null, null, null]"])
def test_captions_that_are_no_list_of_strings_are_refused(captions: str, ada: Person) -> None:
    answer = ada.teach("rex", data={"captions": captions})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "captions")


def test_a_started_learning_says_where_its_job_is(ada: Person) -> None:
    answer = ada.teach("rex")
    assert answer.headers["location"] == f"/api/v1/jobs/{answer.json()['job']['id']}"
    assert ada.ask("GET", answer.headers["location"].removeprefix("/api/v1")).json() == answer.json()["job"]


def test_a_request_sent_again_with_its_key_starts_nothing_even_when_both_come_at_once(
    ada: Person, sessions: Sessions
) -> None:
    answers: list[str] = []

    def teach() -> None:
        answers.append(ada.teach("rex", headers={"Idempotency-Key": "k"}).json()["job"]["id"])

    threads = [threading.Thread(target=teach) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 3
    assert len(set(answers)) == 1
    assert count(sessions, Job) == count(sessions, Concept) == 1


def test_concepts_are_listed_as_a_version_knows_them(ada: Person, sessions: Sessions) -> None:
    with sessions() as session:
        history = session.get_one(History, ada.history_id)
        first = make.version(session, history, 1, "rex")
        history.head_id = make.version(session, history, 2, "momo", first.id).id
        session.commit()
    path = f"/histories/{ada.history_id}/concepts"
    assert [one["token"] for one in ada.ask("GET", path).json()["items"]] == ["<rex>", "<momo>"]
    assert [one["name"] for one in ada.ask("GET", path, params={"version": 1}).json()["items"]] == ["rex"]
    assert ada.ask("GET", path, params={"version": 0}).json()["items"] == []
    assert ada.ask("GET", path, params={"version": 9}).status_code == 404


def test_a_thumbnail_is_made_again_when_it_is_missing_and_not_sent_to_whoever_has_it(
    ada: Person, sessions: Sessions, store: BlobStore
) -> None:
    job = ada.teach("rex").json()["job"]
    picture = ada.ask("GET", f"/concepts/{job['concept_id']}").json()["pictures"][0]
    path = picture["thumbnail_url"].removeprefix("/api/v1")
    first = ada.ask("GET", path, params={"size": 96})
    with sessions() as session:
        digest = session.get_one(ConceptPicture, UUID(picture["id"])).blob_sha256
    file = store.thumbnails.path(thumbnail_name(digest, 96))
    file.unlink()
    assert ada.ask("GET", path, params={"size": 96}).content == first.content
    assert file.exists()
    again = ada.ask("GET", path, params={"size": 96}, headers={"If-None-Match": f'"x", W/{first.headers["etag"]}'})
    assert (again.status_code, again.headers["etag"]) == (304, first.headers["etag"])
    assert ada.ask("GET", path, params={"size": 97}).json()["errors"][0]["field"] == "size"
    store.remove(digest)
    file.unlink()
    assert ada.ask("GET", path, params={"size": 96}).status_code == 404


def test_small_pictures_are_enlarged_pixel_by_pixel_and_large_ones_reduced() -> None:
    for size, wanted in (
        ((32, 24), (192, 144)),
        ((64, 64), (192, 192)),
        ((600, 300), (192, 96)),
        ((150, 100), (150, 100)),
    ):
        with Image.open(BytesIO(make_thumbnail(png(size=size), 192))) as small:
            assert (small.size, small.format) == (wanted, "WEBP")


def test_errors_of_services_are_sentences(teacher: Teacher) -> None:
    """Whoever reads them is told what to change."""
    for given in ({"name": "?"}, {"class_noun": ""}, {"pictures": []}):
        with pytest.raises(AppError) as refused:
            teacher.teach(**given)
        assert refused.value.message[0].isupper() or refused.value.message[0].isdigit()
        assert refused.value.errors == [(refused.value.field, refused.value.message)]
