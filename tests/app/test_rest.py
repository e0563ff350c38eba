"""The service over REST, as a program uses it."""

import json
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from app.config import Settings
from app.db import Sessions
from app.generations.models import Image
from app.histories.models import BaseModelRow, History
from app.jobs.models import Job
from app.main import create_app
from app.queue import GENERATE, LEARN
from app.storage import BlobStore
from tests.app import make
from tests.app.person import Person, make_person, png


def test_a_history_begins_on_the_bare_base(ada: Person) -> None:
    made = ada.ask("POST", "/histories", json={"name": "mugs"})
    assert made.status_code == 201
    assert (made.json()["head"], made.json()["concepts"]) == (0, [])
    assert [one["name"] for one in ada.ask("GET", "/histories").json()["items"]] == ["pets", "mugs"]


def test_a_name_that_is_taken_is_a_conflict_with_its_field(ada: Person) -> None:
    answer = ada.ask("POST", "/histories", json={"name": " pets "})
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"] == [{"field": "name", "message": "You have a history named pets already."}]


def test_teaching_starts_a_job_and_rings_the_worker_after_the_commit(
    ada: Person, sent: list[tuple[str, dict[str, str]]]
) -> None:
    answer = ada.teach("rex", data={"settings": json.dumps({"steps": 50, "selection": {"general_vote": 0.5}})})
    assert answer.status_code == 202, answer.text
    job = answer.json()["job"]
    assert (job["kind"], job["state"], job["place"]) == ("learn", "queued", 0)
    assert job["settings"] == {"steps": 50, "selection": {"general_vote": 0.5}}
    assert sent == [(LEARN, {"job_id": job["id"]})]
    concept = ada.ask("GET", f"/concepts/{job['concept_id']}").json()
    assert [picture["file_name"] for picture in concept["pictures"]] == ["rex-0.png", "rex-1.png", "rex-2.png"]
    file = ada.ask("GET", concept["pictures"][0]["url"].removeprefix("/api/v1"))
    assert file.content.startswith(b"\x89PNG")
    assert "immutable" in file.headers["cache-control"]


def test_learnings_of_a_history_wait_in_order_and_a_name_is_learned_once(ada: Person) -> None:
    ada.teach("rex")
    second = ada.teach("momo")
    assert second.json()["job"]["place"] == 1
    again = ada.teach("rex")
    assert again.status_code == 409
    assert again.json()["detail"] == "<rex> is being learned already."


def test_a_request_sent_twice_with_one_key_starts_one_job(ada: Person, sent: list[tuple[str, dict[str, str]]]) -> None:
    headers = {"Idempotency-Key": "only once"}
    first, second = ada.teach("rex", headers=headers), ada.teach("rex", headers=headers)
    assert first.json()["job"]["id"] == second.json()["job"]["id"]
    assert len(sent) == 1
    other = ada.teach("momo", headers=headers)
    assert other.status_code == 422
    assert "Idempotency-Key came with another request" in other.json()["detail"]


def test_whatever_starts_work_takes_a_key_which_is_each_users_own(
    ada: Person, bob: Person, sent: list[tuple[str, dict[str, str]]]
) -> None:
    headers = {"Idempotency-Key": "k"}
    path = f"/histories/{ada.history_id}/generations"
    first, second = (ada.ask("POST", path, json={"prompt": "a mug"}, headers=headers).json() for _ in range(2))
    assert (first["id"], first["seed"]) == (second["id"], second["seed"])
    assert ada.ask("POST", path, json={"prompt": "a cup"}, headers=headers).status_code == 422
    his = bob.ask("POST", f"/histories/{bob.history_id}/generations", json={"prompt": "a cup"}, headers=headers)
    assert his.status_code == 202
    job = first["job"]["id"]
    ada.ask("POST", f"/jobs/{job}/cancel")
    for _ in range(2):
        again = ada.ask("POST", f"/jobs/{job}/retry", headers={"Idempotency-Key": "try again"})
        assert (again.status_code, again.json()["state"]) == (202, "queued")
    assert [kwargs["job_id"] for _, kwargs in sent] == [job, his.json()["job"]["id"], job]
    assert ada.ask("POST", path, json={"prompt": "a mug"}, headers={"Idempotency-Key": "x" * 201}).status_code == 422


@pytest.mark.parametrize(
    ("limit", "refused"), [({"user_quota_bytes": 1}, 403), ({"start_rate": "4/minute"}, 429)], ids=["room", "rate"]
)
def test_what_a_key_has_started_is_answered_again_though_nothing_more_may_be_started(
    config: Settings, sessions: Sessions, limit: dict[str, Any], refused: int
) -> None:
    with TestClient(create_app(config.model_copy(update=limit), lambda *_args, **_kwargs: None)) as client:
        ada = make_person(client, sessions, "ada")
        asked = {"path": f"/histories/{ada.history_id}/generations", "json": {"prompt": "a mug"}}
        first = ada.ask("POST", **asked, headers={"Idempotency-Key": "pictures"})
        ada.ask("POST", f"/jobs/{first.json()['job']['id']}/cancel")
        retried = {"path": f"/jobs/{first.json()['job']['id']}/retry", "headers": {"Idempotency-Key": "again"}}
        assert ada.ask("POST", **retried).status_code == 202
        assert ada.teach("rex", headers={"Idempotency-Key": "rex"}).status_code == 202
        ada.ask("POST", **asked)  # the last that the rate lets through, and there is no room for it
        assert ada.ask("POST", **asked, headers={"Idempotency-Key": "new"}).status_code == refused
        assert ada.ask("POST", **asked, headers={"Idempotency-Key": "pictures"}).json()["id"] == first.json()["id"]
        assert ada.ask("POST", **retried).status_code == 202
        assert ada.teach("rex", headers={"Idempotency-Key": "rex"}).status_code == 202
        page = f"/jobs/{first.json()['job']['id']}/retry"  # of pages, which know no such header
        answer = client.post(page, headers={"Authorization": f"Bearer {ada.key}", "Idempotency-Key": "again"})
        assert answer.status_code == refused


def test_settings_that_do_not_exist_or_are_out_of_range_are_named(ada: Person) -> None:
    for text, said in (
        ('{"stesp": 3}', "stesp"),
        ('{"steps": 0}', "steps"),
        ('{"selection": {"fraction": 2}}', "selection.fraction"),
        ("[1", "settings"),
    ):
        answer = ada.teach("rex", data={"settings": text})
        assert answer.status_code == 422
        assert said in answer.json()["detail"]


def test_captions_are_one_for_each_picture(ada: Person) -> None:
    wrong = ada.teach("rex", data={"captions": json.dumps(["a photo of a dog"])})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "captions")
    right = ada.teach("rex", data={"captions": json.dumps(["a dog on the grass", "", "a dog"])})
    concept = ada.ask("GET", f"/concepts/{right.json()['job']['concept_id']}").json()
    assert [picture["caption"] for picture in concept["pictures"]] == ["a dog on the grass", None, "a dog"]


def test_few_and_equal_pictures_are_taken_with_a_warning(ada: Person) -> None:
    files = [("pictures", (f"{name}.png", png(seed=4), "image/png")) for name in ("one", "two")]
    answer = ada.ask(
        "POST", f"/histories/{ada.history_id}/concepts", data={"name": "rex", "class_noun": "dog"}, files=files
    )
    assert answer.status_code == 202
    assert any("few" in warning for warning in answer.json()["warnings"])
    assert any("two.png is the same picture as one.png" in warning for warning in answer.json()["warnings"])


def test_an_unknown_token_is_refused_with_those_the_version_knows(ada: Person, sessions: Sessions) -> None:
    with sessions() as session:
        history = session.get_one(History, ada.history_id)
        history.head_id = make.version(session, history, 1, "rex").id
        session.commit()
    answer = ada.ask("POST", f"/histories/{ada.history_id}/generations", json={"prompt": "<momo> and <rex>"})
    assert answer.status_code == 422
    assert answer.json()["detail"] == "This version does not know <momo>. It knows <rex>."
    bare = ada.ask("POST", f"/histories/{ada.history_id}/generations", json={"prompt": "<rex>", "version": 0})
    assert "It knows no concept yet." in bare.json()["detail"]


def test_tokens_that_the_base_knows_by_itself_may_be_named(ada: Person, sessions: Sessions) -> None:
    """As one does that was exported with concepts."""
    with sessions() as session:
        base = session.get_one(BaseModelRow, session.get_one(History, ada.history_id).base_id)
        base.facts = {**base.facts, "own_tokens": ["rex"]}
        session.commit()
    answer = ada.ask("POST", f"/histories/{ada.history_id}/generations", json={"prompt": "a <rex> dog"})
    assert answer.status_code == 202, answer.text
    other = ada.ask("POST", f"/histories/{ada.history_id}/generations", json={"prompt": "a <momo> dog"})
    assert other.json()["detail"] == "This version does not know <momo>. It knows <rex>."


def test_a_generation_takes_the_bases_defaults_and_rings(ada: Person, sent: list[tuple[str, dict[str, str]]]) -> None:
    answer = ada.ask("POST", f"/histories/{ada.history_id}/generations", json={"prompt": "a red mug", "count": 2})
    assert answer.status_code == 202, answer.text
    made = answer.json()
    assert (made["steps"], made["guidance"], made["sampler"]) == (20, 4.0, "ddim")
    assert (made["width_px"], made["height_px"], made["version"]) == (64, 64, 0)
    assert made["images"] == []
    assert sent == [(GENERATE, {"job_id": made["job"]["id"]})]


def test_values_a_base_cannot_do_are_refused_by_their_field(ada: Person) -> None:
    for field, value in (("width_px", 65), ("height_px", 4096), ("sampler", "magic"), ("steps", 1000), ("count", 99)):
        answer = ada.ask("POST", f"/histories/{ada.history_id}/generations", json={"prompt": "a mug", field: value})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == field


def test_waiting_ends_with_its_time_and_says_still_queued(ada: Person) -> None:
    answer = ada.ask(
        "POST",
        f"/histories/{ada.history_id}/generations",
        json={"prompt": "a mug"},
        headers={"Prefer": "wait=1"},
    )
    assert answer.status_code == 202
    assert answer.json()["job"]["state"] == "queued"


def test_rolling_back_moves_head_and_can_be_undone(ada: Person, sessions: Sessions) -> None:
    with sessions() as session:
        history = session.get_one(History, ada.history_id)
        first = make.version(session, history, 1, "rex")
        second = make.version(session, history, 2, "momo", first.id)
        history.head_id = second.id
        session.commit()
    path = f"/histories/{ada.history_id}"
    back = ada.ask("POST", f"{path}/head", json={"version": 1}).json()
    assert (back["head"], [one["name"] for one in back["concepts"]]) == (1, ["rex"])
    assert [one["number"] for one in ada.ask("GET", f"{path}/versions").json()["items"]] == [1, 2]
    undone = ada.ask("POST", f"{path}/head/undo").json()
    assert undone["head"] == 2
    moves = ada.ask("GET", f"{path}/head/moves").json()["items"]
    assert [(one["from_version"], one["to_version"]) for one in moves] == [(1, 2), (2, 1)]
    assert ada.ask("POST", f"{path}/head", json={"version": 9}).status_code == 404


def test_a_waiting_job_is_cancelled_at_once_and_can_be_tried_again(ada: Person) -> None:
    job = ada.teach("rex").json()["job"]
    assert ada.ask("POST", f"/jobs/{job['id']}/cancel").json()["state"] == "cancelled"
    assert ada.ask("POST", f"/jobs/{job['id']}/cancel").status_code == 409
    again = ada.ask("POST", f"/jobs/{job['id']}/retry")
    assert (again.status_code, again.json()["state"]) == (202, "queued")


def test_the_events_of_an_ended_job_are_streamed_with_ids_and_go_on_after_the_last_one(ada: Person) -> None:
    job = ada.teach("rex").json()["job"]
    ada.ask("POST", f"/jobs/{job['id']}/cancel")
    whole = ada.ask("GET", f"/jobs/{job['id']}/events")
    assert whole.headers["content-type"].startswith("text/event-stream")
    blocks = [block for block in whole.text.replace("\r\n", "\n").split("\n\n") if "event:" in block]
    assert ['"queued"' in blocks[0], '"cancelled"' in blocks[1]] == [True, True]
    first_id = next(line.removeprefix("id:").strip() for line in blocks[0].split("\n") if line.startswith("id:"))
    rest = ada.ask("GET", f"/jobs/{job['id']}/events", headers={"Last-Event-ID": first_id})
    assert "queued" not in rest.text
    assert "cancelled" in rest.text
    for rubbish in ("²".encode("latin-1"), b"-1", b"x"):
        begun_anew = ada.ask("GET", f"/jobs/{job['id']}/events", headers={"Last-Event-ID": rubbish})
        assert "queued" in begun_anew.text


def test_several_jobs_are_followed_in_one_stream_and_each_goes_on_after_its_own_events(ada: Person) -> None:
    jobs = [ada.teach(name).json()["job"]["id"] for name in ("rex", "momo")]
    for job in jobs:
        ada.ask("POST", f"/jobs/{job}/cancel")
    whole = events_of(ada.ask("GET", "/events", params={"job": jobs}).text)
    assert [(one["job_id"], one["state"]) for _, one in whole] == [
        (jobs[0], "queued"),
        (jobs[1], "queued"),
        (jobs[0], "cancelled"),
        (jobs[1], "cancelled"),
    ]
    third = whole[2][0]
    rest = events_of(ada.ask("GET", "/events", params={"job": jobs}, headers={"Last-Event-ID": third}).text)
    assert [(one["job_id"], one["state"]) for _, one in rest] == [(jobs[1], "cancelled")]
    assert events_of(ada.ask("GET", "/events", params={"job": jobs, "after": third}).text) == rest
    late = (
        f"{third.partition('.')[0]}.0"  # as if the other job's events had been committed later than they were numbered
    )
    rest = events_of(ada.ask("GET", "/events", params={"job": jobs, "after": late}).text)
    assert [one["state"] for _, one in rest] == ["queued", "cancelled"]
    for rubbish in ("x", "1", "1.2.3", "-1.2", "."):
        assert events_of(ada.ask("GET", "/events", params={"job": jobs, "after": rubbish}).text) == whole
    assert ada.ask("GET", "/events", params={"job": [*jobs, str(uuid4())]}).status_code == 404
    assert ada.ask("GET", "/events", params={"job": [str(uuid4()) for _ in range(21)]}).status_code == 422
    assert ada.ask("GET", "/events").status_code == 422


def events_of(text: str) -> list[tuple[str, dict[str, str]]]:
    """(id, data) of each event of a stream that has ended."""
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "data" in fields:
            found.append((fields["id"], json.loads(fields["data"])))
    return found


def test_lists_come_by_pages_without_gaps_or_repeats(ada: Person) -> None:
    for number in range(5):
        ada.ask("POST", f"/histories/{ada.history_id}/generations", json={"prompt": f"mug {number}"})
    seen: list[str] = []
    cursor = None
    for _ in range(5):
        answer = ada.ask("GET", "/jobs", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [job["id"] for job in answer["items"]]
        cursor = answer["next"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 5
    assert ada.ask("GET", "/jobs", params={"cursor": "rubbish"}).status_code == 422


def test_the_gallery_is_filtered_paged_zipped_and_deleted_from(
    ada: Person, sessions: Sessions, store: BlobStore
) -> None:
    made = ada.ask("POST", f"/histories/{ada.history_id}/generations", json={"prompt": "a mug", "count": 3}).json()
    from app import blobs

    with sessions() as session:
        for position in range(3):
            digest = blobs.keep(session, store, png(seed=position), "image/png")
            session.add(
                Image(
                    generation_id=made["id"],
                    position=position,
                    seed=position,
                    blob_sha256=digest,
                    width_px=80,
                    height_px=72,
                )
            )
            session.commit()
    page = ada.ask("GET", "/images", params={"limit": 2}).json()
    rest = ada.ask("GET", "/images", params={"limit": 2, "cursor": page["next"]}).json()
    ids = [one["id"] for one in page["items"] + rest["items"]]
    assert len(set(ids)) == 3
    assert ada.ask("GET", "/images", params={"concept": "rex"}).json()["items"] == []
    assert len(ada.ask("GET", "/images", params={"version": 0}).json()["items"]) == 3
    assert ada.ask("GET", f"/images/{ids[0]}/thumbnail", params={"size": 96}).headers["content-type"] == "image/webp"
    assert ada.ask("GET", "/images.zip", params={"id": ids}).content.startswith(b"PK")
    assert ada.ask("DELETE", f"/images/{ids[0]}").status_code == 204
    assert ada.ask("GET", f"/images/{ids[0]}/file").status_code == 404


def test_errors_are_problem_details_with_the_number_of_the_request(ada: Person, client: TestClient) -> None:
    for answer in (
        client.get("/api/v1/histories"),
        ada.ask("GET", f"/histories/{uuid4()}"),
        ada.ask("GET", "/histories/not-an-id"),
        ada.ask("POST", "/histories", json={}),
        client.get("/api/v1/nowhere"),
        client.put("/api/v1/histories"),
    ):
        assert answer.status_code in (401, 404, 405, 422)
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == answer.status_code
        assert problem["detail"].endswith(".")
        assert problem["request_id"] == answer.headers["x-request-id"]


def test_a_history_is_deleted_with_all_that_is_in_it(ada: Person, sessions: Sessions) -> None:
    ada.teach("rex")
    assert ada.ask("DELETE", f"/histories/{ada.history_id}").status_code == 204
    with sessions() as session:
        assert session.query(Job).count() == 0
