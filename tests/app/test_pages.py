"""Pages as a browser without scripts gets them: what they show, and what becomes of their forms."""

import html
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select, update

from app import blobs
from app.accounts.models import User
from app.concepts.captions import RING_AGAIN
from app.concepts.models import ConceptPicture, Upload, UploadCaption
from app.config import Settings
from app.db import Sessions
from app.generations import studio
from app.generations.models import Generation, Image
from app.histories.models import HeadMove, History, Version
from app.histories.versions import number_of
from app.jobs.models import Job, JobEvent, JobState
from app.main import create_app
from app.queue import CAPTION, GENERATE, LEARN
from app.storage import BlobStore
from tests.app import make
from tests.app.person import Person, make_person, png

Ask = Callable[..., httpx.Response]


@pytest.fixture
def ask(ada: Person) -> Ask:
    """A request of Ada's for a page. Redirects are not followed."""

    def ask(method: str, path: str, *, fragment: bool = False, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {ada.key}", "Accept": "text/html"}
        headers |= {"HX-Request": "true"} if fragment else {}
        return ada.client.request(method, path, headers=headers, follow_redirects=False, **options)

    return ask


@pytest.fixture
def tree(ada: Person, sessions: Sessions) -> History:
    """rex, then momo on top of it, then zigi on rex alone; momo's version is in use."""
    with sessions() as session:
        history = session.get_one(History, ada.history_id)
        first = make.version(session, history, 1, "rex")
        second = make.version(session, history, 2, "momo", first.id)
        make.version(session, history, 3, "zigi", first.id)
        history.head_id = second.id
        session.commit()
        return history


def words(answer: httpx.Response) -> str:
    """The text of a page, without markup."""
    body = re.sub(r"<script.*?</script>|<style.*?</style>", "", answer.text, flags=re.DOTALL)
    body = body.replace('<span class="token">', "").replace("</span>", "")
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


# --- studio --------------------------------------------------------------------------------------------------------


def test_the_first_page_leads_to_the_history_used_last(ask: Ask, ada: Person) -> None:
    assert ask("GET", "/").headers["location"] == f"/histories/{ada.history_id}"


def test_the_studio_offers_what_is_known_and_every_version(ask: Ask, tree: History) -> None:
    page = ask("GET", f"/histories/{tree.id}")
    assert page.status_code == 200
    assert 'data-concept="rex"' in page.text
    assert '<option value="2" data-knows="rex momo" selected>' in page.text
    assert '<option value="0" data-knows="">0: the bare base' in page.text


def test_asking_for_pictures_leads_back_to_them(ask: Ask, tree: History, sent: list[Any]) -> None:
    answer = ask("POST", f"/histories/{tree.id}/generations", data={"prompt": "a <rex> dog", "count": "2"})
    assert answer.status_code == 303
    where, _, card = answer.headers["location"].partition("#")
    assert [task for task, _ in sent] == [GENERATE]
    page = ask("GET", where)
    assert f'id="{card}"' in page.text
    assert page.text.count("picture waiting") == 2


def test_a_form_sent_twice_starts_one_job(ask: Ask, tree: History, sent: list[Any]) -> None:
    form = {"prompt": "a <rex> dog", "once": "abc"}
    first, second = (ask("POST", f"/histories/{tree.id}/generations", data=form) for _ in range(2))
    assert first.headers["location"] == second.headers["location"]
    assert len(sent) == 1
    ask("POST", f"/histories/{tree.id}/generations", data={**form, "prompt": "a <momo> cat"})
    assert len(sent) == 2


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("prompt", "", "The prompt is empty"),
        ("prompt", "a <zigi> mug", "This version does not know <zigi>"),
        ("seed", "seven", "The seed must be a whole number, and 'seven' is none."),
        ("guidance", "a lot", "Guidance must be a number"),
        ("steps", "900", "1 to 200 steps can be taken, not 900."),
        ("width_px", "65", "multiple of 8"),
    ],
)
def test_what_cannot_be_used_is_said_beside_its_field_and_the_rest_is_kept(
    ask: Ask, tree: History, field: str, value: str, said: str
) -> None:
    typed = {"prompt": "a <rex> dog under a tree", "seed": "41", "count": "3", field: value}
    answer = ask("POST", f"/histories/{tree.id}/generations", data=typed)
    assert answer.status_code == 422
    problem = re.search(rf'id="{field}-problem">(.*?)</p>', answer.text, re.DOTALL)
    assert problem is not None
    assert said in html.unescape(problem[1])
    for name, kept in typed.items():
        if name != field:
            assert html.escape(kept) in answer.text


def test_a_script_gets_the_card_alone_or_the_form_alone(ask: Ask, tree: History) -> None:
    path = f"/histories/{tree.id}/generations"
    card = ask("POST", path, data={"prompt": "a <rex> dog"}, fragment=True)
    assert card.text.lstrip().startswith("<article")
    refused = ask("POST", path, data={"prompt": ""}, fragment=True)
    assert (refused.status_code, refused.headers["hx-retarget"]) == (422, "#ask")
    assert "<html" not in refused.text


def test_whoever_may_start_nothing_more_is_told_so_in_the_form_that_keeps_what_was_typed(
    ask: Ask, ada: Person, tree: History, picture: Image, sessions: Sessions
) -> None:
    with sessions() as session:
        session.get_one(User, ada.id).quota_bytes = 1
        session.commit()
    said = "of the 1 byte that you may keep. Delete pictures or a history"
    home = f"/histories/{tree.id}"
    typed = {"prompt": "a <rex> dog under a tree", "seed": "41"}
    for fragment in (False, True):
        answer = ask("POST", f"{home}/generations", data=typed, fragment=fragment)
        assert (answer.status_code, said in words(answer)) == (403, True)
        assert "a &lt;rex&gt; dog under a tree</textarea>" in answer.text
    ask("POST", "/uploads", files={"pictures": ("dog.png", png(), "image/png")})
    taught = ask("POST", f"{home}/teach", data={"name": "bolt", "class_noun": "robot"})
    assert (taught.status_code, said in words(taught), 'value="bolt"' in taught.text) == (403, True, True)
    drawn = ask("POST", f"{home}/compare", data={"left": "1", "right": "2", "prompt": "a <rex> dog in the sun"})
    assert (drawn.status_code, said in words(drawn), "dog in the sun" in drawn.text) == (403, True, True)


def test_all_settings_of_a_picture_can_be_used_again_also_at_another_version(
    ask: Ask, ada: Person, tree: History, picture: Image
) -> None:
    page = ask("GET", f"/histories/{tree.id}?from={picture.id}")
    assert "a &lt;rex&gt; dog</textarea>" in page.text
    assert f'name="seed" type="text" value="{picture.seed}"' in page.text
    other = ask("GET", f"/histories/{tree.id}?from={picture.id}&version=1")
    assert re.search(r'<option value="1"[^>]* selected', other.text)


def test_the_studio_opens_without_the_settings_of_a_picture_that_was_deleted_meanwhile(
    ask: Ask, tree: History, picture: Image
) -> None:
    ask("POST", "/gallery/delete", data={"id": str(picture.id)})
    page = ask("GET", f"/histories/{tree.id}?from={picture.id}")
    assert page.status_code == 200
    assert "That picture is gone, so its settings could not be filled in." in words(page)
    assert "</textarea>" in page.text
    assert "a &lt;rex&gt; dog</textarea>" not in page.text


def test_a_card_is_cancelled_and_tried_again_by_itself(ask: Ask, tree: History, sessions: Sessions) -> None:
    ask("POST", f"/histories/{tree.id}/generations", data={"prompt": "a <rex> dog"})
    with sessions() as session:
        made = session.scalars(select(Generation)).one()
    back = {"back": f"/histories/{tree.id}"}
    for press, offered in (("cancel", "Try again"), ("retry", "Cancel")):
        answer = ask("POST", f"/jobs/{made.job_id}/{press}", data=back, fragment=True)
        assert (answer.status_code, answer.headers["location"]) == (303, f"/jobs/{made.job_id}")
        onward = ask("GET", answer.headers["location"], fragment=True)
        card = ask("GET", onward.headers["location"], fragment=True)
        assert card.text.lstrip().startswith(f'<article class="generation" id="generation-{made.id}"')
        assert offered in words(card)
    without_scripts = ask("POST", f"/jobs/{made.job_id}/cancel", data=back)
    assert without_scripts.headers["location"] == back["back"]


def test_links_to_pictures_lead_to_them_however_many_were_asked_for_since(
    ask: Ask, tree: History, sessions: Sessions
) -> None:
    for number in range(studio.SHOWN_AT_ONCE + 2):
        ask("POST", f"/histories/{tree.id}/generations", data={"prompt": f"a <rex> dog, number {number}"})
    with sessions() as session:
        first = session.scalars(select(Generation).where(Generation.prompt.endswith("number 0"))).one()
    listed = re.search(rf'<a id="about-{first.job_id}" href="(.*?)"', ask("GET", "/jobs").text)
    assert listed is not None
    for address in (html.unescape(listed[1]), ask("GET", f"/jobs/{first.job_id}").headers["location"]):
        where, _, card = address.partition("#")
        page = ask("GET", where)
        assert card == f"generation-{first.id}"
        assert f'id="{card}"' in page.text
        assert "To the latest pictures" in words(page)


# --- gallery -------------------------------------------------------------------------------------------------------


@pytest.fixture
def picture(ada: Person, tree: History, sessions: Sessions, store: BlobStore) -> Image:
    made = ada.ask("POST", f"/histories/{tree.id}/generations", json={"prompt": "a <rex> dog", "seed": 5}).json()
    with sessions() as session:
        digest = blobs.keep(session, store, png(seed=9, size=(64, 64)), "image/png")
        image = Image(generation_id=made["id"], position=0, seed=5, blob_sha256=digest, width_px=64, height_px=64)
        session.add(image)
        session.commit()
        return image


def test_the_gallery_shows_filters_and_deletes(ask: Ask, picture: Image) -> None:
    assert f"/images/{picture.id}" in ask("GET", "/gallery").text
    assert f"/images/{picture.id}" in ask("GET", "/gallery?concept=rex&version=2").text
    assert "No picture fits this choice" in ask("GET", "/gallery?concept=momo").text
    assert ask("POST", "/gallery/delete", data={"id": str(picture.id)}).status_code == 303
    assert "Nothing here yet" in ask("GET", "/gallery").text


def test_a_picture_that_the_viewer_deletes_leads_nowhere(ask: Ask, picture: Image) -> None:
    assert ask("POST", "/gallery/delete", data={"id": str(picture.id)}, fragment=True).status_code == 204
    assert ask("GET", f"/images/{picture.id}").status_code == 404


def test_the_gallery_does_not_stumble_over_what_somebody_typed_into_the_address(ask: Ask, picture: Image) -> None:
    for query in ("history=nonsense", "version=-1", "version=99999999999999999999", "concept=%00", "concept=<rex>"):
        assert ask("GET", f"/gallery?{query}").status_code in (200, 422)


def test_a_picture_has_a_page_with_its_recipe_and_its_call(ask: Ask, picture: Image) -> None:
    page = ask("GET", f"/images/{picture.id}")
    said = words(page)
    assert "a <rex> dog" in said
    assert "64 × 64 px" in said
    assert "curl -X POST" in said
    assert '"seed": 5' in said
    alone = ask("GET", f"/images/{picture.id}", fragment=True)
    assert "<html" not in alone.text


def test_the_way_back_never_leads_to_another_site(ask: Ask, picture: Image) -> None:
    for back in ("https://elsewhere.example/", "//elsewhere.example/", "/\\elsewhere.example"):
        answer = ask("POST", "/gallery/delete", data={"id": str(uuid4()), "back": back})
        assert "elsewhere" not in answer.headers.get("location", "")
    deleted = ask("POST", "/gallery/delete", data={"id": str(picture.id), "back": "//elsewhere.example/"})
    assert deleted.headers["location"] == "/gallery"


# --- teaching ------------------------------------------------------------------------------------------------------


def test_files_sent_with_the_form_are_taught_with_their_settings(
    ask: Ask, ada: Person, sessions: Sessions, sent: list[Any]
) -> None:
    answer = ask(
        "POST",
        f"/histories/{ada.history_id}/teach",
        data={
            "name": "rex",
            "class_noun": "dog",
            "steps": "50",
            "selection.fraction": "0,2",
            "flip": "yes",
            "reach": "everywhere",
        },
        files=[("pictures", (f"{n}.png", png(seed=n), "image/png")) for n in range(3)],
    )
    assert answer.status_code == 303, words(answer)
    assert [task for task, _ in sent] == [LEARN]
    with sessions() as session:
        job = session.scalars(select(Job)).one()
        assert answer.headers["location"] == f"/jobs/{job.id}"
        assert job.settings == {"steps": 50, "flip": True, "reach": "everywhere", "selection": {"fraction": 0.2}}
        assert session.scalars(select(Upload)).all() == []


def test_a_file_that_cannot_be_used_is_named_and_the_others_wait_in_the_form(
    ask: Ask, ada: Person, sessions: Sessions
) -> None:
    path = f"/histories/{ada.history_id}/teach"
    files = [
        ("pictures", ("good.png", png(seed=1), "image/png")),
        ("pictures", ("drawing.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml")),
        ("pictures", ("empty.jpg", b"", "image/jpeg")),
    ]
    answer = ask("POST", path, data={"name": "rex", "class_noun": "dog"}, files=files)
    said = words(answer)
    assert answer.status_code == 422
    assert "drawing.svg is a text with markup" in said
    assert "empty.jpg is empty." in said
    assert "good.png" in said
    assert 'value="rex"' in answer.text
    with sessions() as session:
        kept = session.scalars(select(Upload)).one()
        assert session.scalars(select(Job)).all() == []
    again = ask(
        "POST",
        path,
        data={"name": "rex", "class_noun": "dog", "upload": str(kept.id), f"caption-{kept.id}": "a dog in the rain"},
    )
    assert again.status_code == 303
    with sessions() as session:
        assert session.scalars(select(ConceptPicture.caption)).one() == "a dog in the rain"


def test_a_file_that_is_dropped_answers_with_its_card_or_its_sentence(ask: Ask) -> None:
    kept = ask("POST", "/uploads", files={"pictures": ("dog.png", png(), "image/png")}, fragment=True)
    assert kept.status_code == 201
    upload_id = re.search(r'data-upload="([0-9a-f-]+)"', kept.text)
    assert upload_id is not None
    assert ask("GET", f"/uploads/{upload_id[1]}/thumbnail").headers["content-type"] == "image/webp"
    refused = ask("POST", "/uploads", files={"pictures": ("page.png", b"<html>hi", "image/png")}, fragment=True)
    assert refused.status_code == 422
    assert "page.png is a text with markup" in refused.text
    assert ask("POST", f"/uploads/{upload_id[1]}/drop").status_code == 204
    assert ask("GET", f"/uploads/{upload_id[1]}/thumbnail").status_code == 404


def test_of_two_that_are_the_same_the_one_that_is_left_is_not_said_to_be_there_twice(ask: Ask) -> None:
    one, other = (
        re.findall(r'data-upload="([0-9a-f-]+)"', ask("POST", "/uploads", files={"pictures": file}).text)[0]
        for file in (("a.png", png(), "image/png"), ("b.png", png(), "image/png"))
    )
    ask("POST", "/uploads", files={"pictures": ("c.png", png(), "image/png")})
    left = ask("POST", f"/uploads/{one}/drop", fragment=True)
    assert left.text.count("The same picture as b.png") == 1
    assert "a.png" not in left.text
    assert f'data-remarks="{other}"' in left.text


def test_no_more_pictures_wait_than_a_concept_takes(ask: Ask) -> None:
    for number in range(20):
        answer = ask("POST", "/uploads", files={"pictures": ("x.png", png(seed=number), "image/png")})
        assert answer.status_code == 201
    more = ask("POST", "/uploads", files={"pictures": ("last.png", png(seed=99), "image/png")})
    assert more.status_code == 413
    assert "20 pictures are the most" in more.text


def write_captions(sessions: Sessions, caption: str, subject: str = "") -> None:
    """As a worker does, for every picture that wants one."""
    with sessions.begin() as session:
        values = {"caption": caption, "subject": subject}
        session.execute(update(UploadCaption).where(UploadCaption.caption.is_(None)).values(**values))


def caption_field(page: httpx.Response, upload_id: object) -> tuple[str, str]:
    """What stands in the field of a picture, and what was put there by us."""
    found = [re.search(rf'name="{name}-{upload_id}" value="(.*?)"', page.text) for name in ("caption", "offered")]
    return tuple(html.unescape(one[1]) for one in found if one)  # type: ignore[return-value]


def test_captions_are_asked_for_when_the_form_is_shown_and_stand_in_their_fields_at_the_next_look(
    ask: Ask, ada: Person, sessions: Sessions, sent: list[Any]
) -> None:
    path = f"/histories/{ada.history_id}/teach"
    ask("GET", path)
    assert sent == []  # nothing waits
    ask("POST", "/uploads", files={"pictures": ("dog.png", png(), "image/png")})
    first = ask("GET", path)
    assert sent == [(CAPTION, {"base_id": make.BASE_ID})]
    with sessions() as session:
        upload = session.scalars(select(Upload.id)).one()
    assert caption_field(first, upload) == ("", "")
    write_captions(sessions, "a photo of a {noun} on the grass")
    assert caption_field(ask("GET", path), upload) == ("", "")  # the noun is not known yet
    typed = {"name": "", "class_noun": "dog", "upload": str(upload)}
    refused = ask("POST", path, data={**typed, f"caption-{upload}": "", f"offered-{upload}": ""})
    offered = "a photo of a dog on the grass"
    assert caption_field(refused, upload) == (offered, offered)
    assert len(sent) == 1
    # It follows the noun for as long as nobody has changed it, also when the learning is started.
    same = {f"caption-{upload}": offered, f"offered-{upload}": offered, "class_noun": "cat"}
    assert ask("POST", path, data={**typed, **same, "name": "rex"}).status_code == 303
    with sessions() as session:
        assert session.scalars(select(ConceptPicture.caption)).one() == "a photo of a cat on the grass"
        assert session.scalars(select(UploadCaption)).all() == []
    assert [task for task, _ in sent] == [CAPTION, LEARN]


@pytest.mark.parametrize(
    ("noun", "offered"),
    [
        ("drawing", "a drawing of a cat at night"),
        ("Ink  Drawing", "a Ink Drawing of a cat at night"),
        ("style", "a photo of a cat at night in a style"),
        ("dog", "a photo of a dog at night"),
    ],
)
def test_of_how_pictures_are_made_the_caption_offered_says_what_they_show(
    noun: str, offered: str, ask: Ask, ada: Person, sessions: Sessions
) -> None:
    path = f"/histories/{ada.history_id}/teach"
    ask("POST", "/uploads", files={"pictures": ("noir.png", png(), "image/png")})
    ask("GET", path)
    write_captions(sessions, "a photo of a {noun} at night", "a cat at night")
    with sessions() as session:
        upload = session.scalars(select(Upload.id)).one()
    form = {"name": "", "class_noun": noun, "upload": str(upload)}
    shown = ask("POST", path, data={**form, f"caption-{upload}": "", f"offered-{upload}": ""})
    assert caption_field(shown, upload) == (offered, offered)


def test_where_nobody_can_say_what_a_picture_shows_nothing_is_offered_of_how_it_is_made(
    ask: Ask, ada: Person, sessions: Sessions
) -> None:
    path = f"/histories/{ada.history_id}/teach"
    ask("POST", "/uploads", files={"pictures": ("noir.png", png(), "image/png")})
    ask("GET", path)
    write_captions(sessions, "a photo of a {noun}")
    with sessions() as session:
        upload = session.scalars(select(Upload.id)).one()
    form = {"name": "", "class_noun": "drawing", "upload": str(upload)}
    assert caption_field(ask("POST", path, data=form), upload) == ("", "")


@pytest.mark.parametrize(("typed", "kept"), [("a dog at night", "a dog at night"), ("", None)])
def test_what_was_typed_in_place_of_an_offered_caption_is_kept(
    typed: str, kept: str | None, ask: Ask, ada: Person, sessions: Sessions
) -> None:
    path = f"/histories/{ada.history_id}/teach"
    ask("POST", "/uploads", files={"pictures": ("dog.png", png(), "image/png")})
    ask("GET", path)
    write_captions(sessions, "a photo of a {noun} on the grass")
    with sessions() as session:
        upload = session.scalars(select(Upload.id)).one()
    form = {"class_noun": "dog", "upload": str(upload), f"caption-{upload}": typed}
    form |= {f"offered-{upload}": "a photo of a dog on the grass"}
    assert caption_field(ask("POST", path, data={**form, "name": ""}), upload)[0] == typed
    assert ask("POST", path, data={**form, "name": "rex"}).status_code == 303
    with sessions() as session:
        assert session.scalars(select(ConceptPicture.caption)).one() == kept


def test_a_page_asks_for_captions_until_they_are_there_and_rings_again_after_a_while(
    ask: Ask, ada: Person, sessions: Sessions, sent: list[Any]
) -> None:
    path = f"/histories/{ada.history_id}/captions"
    assert ask("POST", path).json() == {}
    ask("POST", "/uploads", files={"pictures": ("dog.png", png(), "image/png")})
    (upload,) = ask("POST", path).json()
    assert ask("POST", path).json() == {upload: None}
    assert len(sent) == 1
    with sessions.begin() as session:
        session.execute(update(UploadCaption).values(rung_at=func.now() - RING_AGAIN - timedelta(seconds=1)))
    ask("POST", path)
    assert sent == [(CAPTION, {"base_id": make.BASE_ID})] * 2
    write_captions(sessions, "a photo of a {noun}", "a cat")
    assert ask("POST", path).json() == {upload: {"template": "a photo of a {noun}", "subject": "a cat"}}
    ask("POST", f"/uploads/{upload}/drop")
    assert ask("POST", path).json() == {}
    with sessions() as session:
        assert session.scalars(select(UploadCaption)).all() == []


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"name": "my dog"}, "name", "letters, digits"),
        ({"class_noun": ""}, "class_noun", "What kind of thing"),
        ({"steps": "many"}, "steps", "Steps must be a whole number"),
        ({"lr_token": "-1"}, "lr_token", "Rate of the word"),
        ({"selection.fraction": "3"}, "selection.fraction", "Share of neurons"),
        ({"reach": "far"}, "reach", "Where neurons apply"),
        ({"name": "momo"}, "name", "knows <momo> already"),
    ],
)
def test_what_cannot_be_taught_is_said_beside_its_field(
    ask: Ask, tree: History, changes: dict[str, str], field: str, said: str
) -> None:
    files = [("pictures", ("1.png", png(), "image/png"))]
    data = {"name": "bolt", "class_noun": "robot", **changes}
    answer = ask("POST", f"/histories/{tree.id}/teach", data=data, files=files)
    assert answer.status_code in (409, 422)
    problem = re.search(rf'id="{re.escape(field)}-problem">(.*?)</p>', answer.text, re.DOTALL)
    assert problem is not None
    assert said in html.unescape(problem[1])
    assert 'data-upload="' in answer.text  # the picture is kept


def test_taking_a_picture_away_without_scripts_keeps_what_was_typed(ask: Ask, ada: Person, sessions: Sessions) -> None:
    ask("POST", "/uploads", files={"pictures": ("dog.png", png(), "image/png")})
    with sessions() as session:
        upload = session.scalars(select(Upload)).one()
    data = {"name": "rex", "class_noun": "", "drop": str(upload.id), "upload": str(upload.id)}
    files = [("pictures", ("other.png", png(seed=2), "image/png")), ("pictures", ("empty.png", b"", "image/png"))]
    answer = ask("POST", f"/histories/{ada.history_id}/teach", data=data, files=files)
    assert answer.status_code == 200
    assert 'value="rex"' in answer.text
    assert str(upload.id) not in answer.text
    assert answer.text.count('data-upload="') == 1  # what was chosen meanwhile is kept as well
    assert "empty.png is empty." in words(answer)


# --- jobs ----------------------------------------------------------------------------------------------------------


def test_a_learning_has_a_page_with_its_stages_and_can_be_cancelled_and_tried_again(ask: Ask, ada: Person) -> None:
    job = ada.teach("rex").json()["job"]
    page = ask("GET", f"/jobs/{job['id']}")
    said = words(page)
    assert "Learning <rex>, a dog" in said
    assert "Selecting neurons" in said
    assert f'data-job="{job["id"]}"' in page.text
    assert ask("POST", f"/jobs/{job['id']}/cancel", data={}).headers["location"] == f"/jobs/{job['id']}"
    ended = ask("GET", f"/jobs/{job['id']}")
    assert "Try again" in ended.text
    assert "data-job=" not in ended.text
    assert ask("POST", f"/jobs/{job['id']}/retry", data={"back": "/jobs"}).headers["location"] == "/jobs"


def test_the_page_of_a_learning_shows_its_captions_as_soon_as_its_worker_has_told_them(
    ask: Ask, ada: Person, sessions: Sessions
) -> None:
    job = ada.teach("rex", data={"captions": json.dumps(["a dog at night", "", ""])}).json()["job"]["id"]
    before = words(ask("GET", f"/jobs/{job}"))
    assert "a dog at night" in before
    assert before.count("its caption was left to us") == 2
    told = [f"a <rex> dog {where}" for where in ("at night", "on the beach", "in the snow")]
    with sessions.begin() as session:
        session.add(JobEvent(job_id=UUID(job), kind="captions", data={"captions": told}))
    after = ask("GET", f"/jobs/{job}")
    assert all(caption in words(after) for caption in told)
    assert 'a <span class="token">&lt;rex&gt;</span> dog on the beach' in after.text
    assert "left to us" not in words(after)


def test_the_job_of_pictures_is_shown_in_its_studio(ask: Ask, ada: Person) -> None:
    made = ada.ask("POST", f"/histories/{ada.history_id}/generations", json={"prompt": "a mug"}).json()
    where = ask("GET", f"/jobs/{made['job']['id']}").headers["location"]
    assert where.startswith(f"/histories/{ada.history_id}?before=")
    assert where.endswith(f"#generation-{made['id']}")
    assert f'id="generation-{made["id"]}"' in ask("GET", where).text


def test_the_list_of_jobs_is_sent_again_only_when_it_changed(ask: Ask, ada: Person) -> None:
    ada.teach("rex")
    shown = ask("GET", "/jobs", fragment=True)
    seen = re.search(r"seen=(\w+)", shown.text)
    assert seen is not None
    assert ask("GET", f"/jobs?seen={seen[1]}", fragment=True).status_code == 204
    ada.teach("momo")
    assert ask("GET", f"/jobs?seen={seen[1]}", fragment=True).status_code == 200


def test_an_administrator_sees_everybodys_jobs_but_not_what_they_are_about(
    ask: Ask, ada: Person, bob: Person, sessions: Sessions
) -> None:
    """One that waits, one that failed, and one whose version was held back: the reasons tell it too."""
    bob.teach("secret", data={"settings": '{"seed": 77}'})
    failed, held_back = (UUID(bob.teach(f"secret{place}").json()["job"]["id"]) for place in (1, 2))
    mine = ada.teach("rex").json()["job"]["id"]
    assert "bob" not in words(ask("GET", "/jobs?everybody=true"))
    with sessions() as session:
        session.get_one(User, ada.id).is_admin = True
        for job_id in (failed, UUID(mine)):
            job = session.get_one(Job, job_id)
            job.state, job.error = JobState.FAILED.value, "This line of versions already knows <secret>."
        version = make.version(session, session.get_one(History, bob.history_id), 1, "other")
        version.job_id, version.held_back = held_back, [{"sentence": "<secret> suffers.", "remedy": ""}]
        session.commit()
    said = words(ask("GET", "/jobs?everybody=true"))
    assert "bob" in said
    assert "It failed." in said
    assert said.count("secret") == 1  # her own
    listed = {one["id"]: one for one in ada.ask("GET", "/jobs?everybody=true").json()["items"]}
    assert listed.pop(mine)["error"] == "This line of versions already knows <secret>."
    assert len(listed) == 3
    for one in listed.values():
        assert (one["error"], one["held_back"], one["settings"]) == (None, [], {})
        assert (one["concept_id"], one["generation_id"]) == (None, None)
    assert listed[str(held_back)]["version"] == 1
    assert listed[str(failed)]["state"] == "failed"
    own = {one["id"]: one for one in bob.ask("GET", "/jobs").json()["items"]}
    assert own[str(held_back)]["held_back"] == ["<secret> suffers."]
    assert "secret" in own[str(failed)]["error"]


# --- timeline ------------------------------------------------------------------------------------------------------


def test_the_timeline_says_what_going_back_will_change(ask: Ask, tree: History) -> None:
    said = words(ask("GET", f"/histories/{tree.id}/timeline?version=1"))
    assert "Prompts will no longer know <momo>" in said
    assert "Version 2 stays in the tree" in said
    assert "deletes nothing, and can be undone" in said
    across = words(ask("GET", f"/histories/{tree.id}/timeline?version=3"))
    assert "Prompts will no longer know <momo>" in across
    assert "Prompts will know <zigi>" in across


def test_going_back_offers_to_undo_it(ask: Ask, tree: History, sessions: Sessions) -> None:
    answer = ask("POST", f"/histories/{tree.id}/head", data={"version": "1"})
    page = ask("GET", answer.headers["location"])
    assert "Version 1 is in use now." in words(page)
    assert ask("POST", f"/histories/{tree.id}/head/undo", data={}).status_code == 303
    with sessions() as session:
        assert session.get_one(History, tree.id).head_id == tree.head_id


def test_what_is_undone_is_the_move_that_the_page_showed_and_may_be_undone_itself(
    ask: Ask, tree: History, sessions: Sessions
) -> None:
    ask("POST", f"/histories/{tree.id}/head", data={"version": "1"})
    page = ask("GET", f"/histories/{tree.id}/timeline").text
    shown = {"move": re.findall(r'name="move" value="(\d+)"', page)[0]}
    ask("POST", f"/histories/{tree.id}/head", data={"version": "3"})  # in another tab
    refused = ask("POST", f"/histories/{tree.id}/head/undo", data=shown)
    assert refused.status_code == 409
    assert "Something else was put to use meanwhile, so nothing was undone." in words(refused)
    page = ask("GET", f"/histories/{tree.id}/timeline").text
    shown = {"move": re.findall(r'name="move" value="(\d+)"', page)[0]}
    answer = ask("POST", f"/histories/{tree.id}/head/undo", data=shown)
    undone = words(ask("GET", answer.headers["location"]))
    assert "Version 1 is in use now. Undo" in undone
    with sessions() as session:
        history = session.get_one(History, tree.id)
        assert number_of(session, history.head_id) == 1


def test_pages_on_which_something_is_typed_are_never_loaded_anew_by_themselves(
    ask: Ask, tree: History, ada: Person
) -> None:
    ada.teach("kiko")
    ask("POST", f"/histories/{tree.id}/generations", data={"prompt": "a dog", "version": "1"})
    ask("POST", f"/histories/{tree.id}/compare", data={"left": "1", "right": "2", "prompt": "a dog"})
    for page in ("", "/timeline", "/compare?left=1&right=2"):
        text = ask("GET", f"/histories/{tree.id}{page}").text
        assert 'http-equiv="refresh"' not in text
        assert "Look again</a>" in text
    assert 'http-equiv="refresh"' in ask("GET", "/jobs").text


def test_a_comparison_says_how_many_wait_before_its_pictures(ask: Ask, tree: History) -> None:
    ask("POST", f"/histories/{tree.id}/generations", data={"prompt": "a dog", "version": "1"})
    ask("POST", f"/histories/{tree.id}/compare", data={"left": "1", "right": "2", "prompt": "a cat"})
    said = words(ask("GET", f"/histories/{tree.id}/compare?left=1&right=2"))
    assert "a cat: Waiting, 1 job before it." in said
    assert "a cat: Waiting, 2 jobs before it." in said
    assert "it is next" not in said


def test_a_move_that_came_from_what_is_erased_is_not_offered_to_be_undone(
    ask: Ask, tree: History, sessions: Sessions
) -> None:
    with sessions.begin() as session:
        session.add(HeadMove(history_id=tree.id, from_id=tree.head_id, to_id=tree.head_id, why="forgot rex"))
    said = words(ask("GET", f"/histories/{tree.id}/timeline"))
    assert "forgot rex" in said
    assert "Undo" not in said
    assert ask("POST", f"/histories/{tree.id}/head/undo", data={}).status_code == 409


def test_a_branch_begins_where_it_is_asked_for(ask: Ask, tree: History) -> None:
    answer = ask("POST", f"/histories/{tree.id}/head", data={"version": "1", "then": "teach"})
    assert answer.headers["location"] == f"/histories/{tree.id}/teach"


def test_a_version_can_have_a_name_of_its_own(ask: Ask, tree: History) -> None:
    ask("POST", f"/histories/{tree.id}/versions/2/label", data={"label": "before the mug"})
    assert "before the mug" in words(ask("GET", f"/histories/{tree.id}/timeline"))


@pytest.mark.parametrize(
    ("told", "said"), [({}, False), ({"pull": 1.2, "guided": 1.0}, False), ({"guided": 0.12}, True)]
)
def test_a_version_says_for_how_long_pictures_of_its_concept_are_guided(
    ask: Ask, tree: History, sessions: Sessions, told: dict[str, float], said: bool
) -> None:
    with sessions() as session:
        version = session.get_one(Version, tree.head_id)
        version.report = {**version.report, **told}
        session.commit()
    assert ("In the first 12 % of the noise only" in words(ask("GET", f"/histories/{tree.id}/timeline"))) is said


def test_each_concept_of_a_version_can_be_drawn_with_the_same_seed(ask: Ask, tree: History, sessions: Sessions) -> None:
    ask("POST", f"/histories/{tree.id}/versions/2/draw", data={})
    with sessions() as session:
        asked = session.scalars(select(Generation).order_by(Generation.prompt)).all()
        assert [(one.prompt, one.seed, one.version_id) for one in asked] == [
            ("a photo of a <momo> dog", 1, tree.head_id),
            ("a photo of a <rex> dog", 1, tree.head_id),
        ]


def test_comparing_draws_at_both_versions_or_at_none(ask: Ask, tree: History, sessions: Sessions) -> None:
    form = {"left": "1", "right": "2", "prompt": "a <momo> cat", "seed": "3"}
    refused = ask("POST", f"/histories/{tree.id}/compare", data=form)
    assert refused.status_code == 422
    assert "This version does not know <momo>" in html.unescape(refused.text)
    with sessions() as session:
        assert session.scalars(select(Generation)).all() == []
    drawn = ask("POST", f"/histories/{tree.id}/compare", data={**form, "prompt": "a <rex> dog"})
    assert drawn.status_code == 303
    page = words(ask("GET", drawn.headers["location"]))
    assert page.count("a <rex> dog: Waiting") == 2


@pytest.mark.parametrize(
    ("page", "path", "about"),
    [
        ("timeline?version=2", "versions/2/draw", {}),
        ("compare?left=1&right=2", "compare", {"left": "1", "right": "2", "prompt": "a <rex> dog"}),
    ],
)
def test_a_double_click_without_scripts_draws_once(
    ask: Ask, tree: History, sessions: Sessions, page: str, path: str, about: dict[str, str]
) -> None:
    home = f"/histories/{tree.id}"
    form = re.search(
        rf'method="post" action="{home}/{path}">(.*?)</form>', ask("GET", f"{home}/{page}").text, re.DOTALL
    )
    assert form is not None
    once = re.search(r'name="once" value="(\w+)"', form[1])
    for _ in range(2):
        data = {**about, "once": once[1] if once else ""}
        assert ask("POST", f"{home}/{path}", data=data).status_code == 303
    with sessions() as session:
        assert len(session.scalars(select(Generation)).all()) == 2  # of two concepts, or at two versions


def test_pictures_of_two_versions_with_one_seed_are_laid_over_each_other(
    ask: Ask, ada: Person, tree: History, sessions: Sessions, store: BlobStore
) -> None:
    for version in (1, 2):
        body = {"prompt": "a <rex> dog", "seed": 5, "version": version}
        made = ada.ask("POST", f"/histories/{tree.id}/generations", json=body).json()
        with sessions() as session:
            digest = blobs.keep(session, store, png(seed=version, size=(64, 64)), "image/png")
            session.add(
                Image(generation_id=made["id"], position=0, seed=5, blob_sha256=digest, width_px=64, height_px=64)
            )
            session.commit()
    page = ask("GET", f"/histories/{tree.id}/compare?left=1&right=2")
    assert page.text.count("data-pair") == 1
    assert "data-pair" not in ask("GET", f"/histories/{tree.id}/compare?left=0&right=2").text


def test_a_version_that_does_not_exist_is_a_page_that_says_so(ask: Ask, tree: History) -> None:
    for path in ("timeline?version=9", "compare?left=9&right=1"):
        answer = ask("GET", f"/histories/{tree.id}/{path}")
        assert answer.status_code == 404
        assert "This history has no version 9." in words(answer)


# --- histories -----------------------------------------------------------------------------------------------------


def test_a_history_is_begun_renamed_and_deleted_only_by_its_name(ask: Ask, ada: Person) -> None:
    begun = ask("POST", "/histories", data={"name": "mugs"}).headers["location"]
    taken = ask("POST", "/histories", data={"name": "mugs"})
    assert (taken.status_code, "You have a history named mugs already." in words(taken)) == (409, True)
    assert ask("POST", f"{begun}/rename", data={"name": "cups"}).status_code == 303
    wrong = ask("POST", f"{begun}/delete", data={"name": "mugs"})
    assert "type its name exactly: cups" in words(wrong)
    assert ask("POST", f"{begun}/delete", data={"name": "cups"}).status_code == 303
    assert ask("GET", begun).status_code == 404


def test_every_place_has_the_call_of_what_it_shows(ask: Ask, tree: History, picture: Image) -> None:
    home = f"/histories/{tree.id}"
    for path, call in {
        home: f"curl -X POST http://testserver/api/v1{home}/generations",
        f"{home}/timeline": f"curl -X POST http://testserver/api/v1{home}/head",
        f"{home}/compare?left=1&right=2": '"prompt": "a photo of a <rex> dog", "seed": 1, "count": 2, "version": 1',
        "/gallery?concept=rex&version=2": "'http://testserver/api/v1/images?version=2&concept=rex'",
        "/jobs": "curl -X GET http://testserver/api/v1/jobs",
        "/histories": "curl -X POST http://testserver/api/v1/histories",
        f"/images/{picture.id}": '"seed": 5',
    }.items():
        assert call in html.unescape(ask("GET", path).text), path


def test_empty_pages_say_what_to_do_next(ask: Ask) -> None:
    for path, said in (("/gallery", "Every picture you make"), ("/jobs", "Start one in the studio")):
        page = ask("GET", path)
        assert said in words(page)
        assert '<svg class="icon big" viewBox' in page.text


def test_somebody_new_is_shown_how_to_begin(ask: Ask, ada: Person) -> None:
    ask("POST", f"/histories/{ada.history_id}/delete", data={"name": "pets"})
    welcome = ask("GET", "/")
    assert welcome.status_code == 200
    assert "Begin a history" in words(welcome)


def test_a_name_that_is_taken_already_costs_nothing_else_that_was_chosen(
    ask: Ask, ada: Person, sessions: Sessions
) -> None:
    with sessions() as session:
        make.base_model(session, "c" * 64)
    for base in (make.BASE_ID, "c" * 64):
        answer = ask("POST", "/histories", data={"name": "pets", "base_id": base})
        assert answer.status_code == 409
        assert re.findall(r'<option value="(\w+)" selected>', answer.text) == [base]


def test_histories_show_their_latest_pictures(ask: Ask, picture: Image) -> None:
    assert f"/api/v1/images/{picture.id}/file" in ask("GET", "/histories").text


def test_samples_are_shown_before_they_are_chosen(ask: Ask, ada: Person, sessions: Sessions) -> None:
    with sessions() as session:
        make.base_model(session).facts = {**make.FACTS, "name": "storybook"}
        session.commit()
    teach = ask("GET", f"/histories/{ada.history_id}/teach")
    ask("POST", f"/histories/{ada.history_id}/delete", data={"name": "pets"})
    welcome = ask("GET", "/")
    for page in (teach, welcome):
        assert len(set(re.findall(r'src="(/samples/\w+/picture)"', page.text))) == 3
    shown = ask("GET", re.findall(r'src="(/samples/\w+/picture)"', welcome.text)[0])
    assert shown.headers["content-type"] == "image/png"
    assert ask("GET", "/samples/..%2f..%2fmodel/picture").status_code == 404
    assert ask("GET", "/samples/nobody/picture").status_code == 404


def test_a_sample_takes_the_place_of_what_waits_only_when_it_can_be_had(
    config: Settings, sessions: Sessions, store: BlobStore
) -> None:
    def press(settings: Settings) -> tuple[int, set[str]]:
        """The answer to a press on a sample, and the names of what waits then."""
        with TestClient(create_app(settings, lambda *_args, **_kwargs: None)) as client:
            answer = client.post(path, headers=headers, follow_redirects=False)
        with sessions() as session:
            return answer.status_code, set(session.scalars(select(Upload.file_name)))

    with TestClient(create_app(config, lambda *_args, **_kwargs: None)) as client:
        ada = make_person(client, sessions, "ada")
    path, headers = f"/histories/{ada.history_id}/samples/zigi", {"Authorization": f"Bearer {ada.key}"}
    with sessions() as session:
        make.base_model(session).facts = {**make.FACTS, "name": "storybook"}
        digest = blobs.keep(session, store, png(), "image/png")
        mine = {"blob_sha256": digest, "file_name": "mine.png", "width_px": 80, "height_px": 72}
        session.add(Upload(owner_id=ada.id, **mine))
        session.commit()
    assert press(config.model_copy(update={"max_pixels": 64 * 64 - 1})) == (413, {"mine.png"})
    assert press(config) == (303, {f"{number}.png" for number in range(5)})


def test_the_form_takes_no_more_than_the_settings_say(config: Settings, sessions: Sessions) -> None:
    small = config.model_copy(update={"max_images": 2, "max_side_px": 128})
    with TestClient(create_app(small, lambda *_args, **_kwargs: None)) as client:
        person = make_person(client, sessions, "ada")
        page = client.get(f"/histories/{person.history_id}", headers={"Authorization": f"Bearer {person.key}"})
        assert re.search(r'name="count" type="number" min="1" max="2"[^>]* value="2"', page.text)
        assert re.search(r'name="width_px"[^>]* max="128"', page.text)


def test_errors_of_pages_are_pages(ask: Ask) -> None:
    answer = ask("GET", f"/histories/{uuid4()}")
    assert answer.status_code == 404
    assert "There is no such history." in words(answer)
    assert answer.headers["content-type"].startswith("text/html")
