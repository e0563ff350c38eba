"""Histories are trees of versions with a head; going anywhere in them is instant, noted, and loses nothing."""

import threading
from itertools import pairwise
from uuid import uuid4

import pytest
from sqlalchemy import delete, select

from app.blobs import Blob
from app.concepts.models import Concept
from app.db import Sessions, UnitOfWork
from app.errors import Conflict, Invalid, NotFound, Unavailable
from app.generations.models import Generation
from app.histories import head, service, versions
from app.histories.models import BaseModelRow, HeadMove, History, Version
from app.jobs.models import Job
from app.storage import BlobStore
from tests.app import make
from tests.app.person import Person


@pytest.fixture
def uow(sessions: Sessions) -> UnitOfWork:
    return UnitOfWork(sessions, lambda *_args, **_kwargs: None)


@pytest.fixture
def branched(ada: Person, sessions: Sessions) -> History:
    """1 rex - 2 momo, and beside momo 3 mug, which is head."""
    with sessions() as session:
        history = session.get_one(History, ada.history_id)
        rex = make.version(session, history, 1, "rex")
        make.version(session, history, 2, "momo", rex.id)
        history.head_id = make.version(session, history, 3, "mug", rex.id).id
        session.commit()
        return history


def test_a_version_knows_what_its_line_learned_and_nothing_of_other_branches(
    branched: History, sessions: Sessions
) -> None:
    with sessions() as session:
        for number, names in ((0, []), (1, ["rex"]), (2, ["rex", "momo"]), (3, ["rex", "mug"])):
            version = versions.get_version(session, branched, number)
            version_id = version.id if version else None
            assert list(versions.known_names(session, branched, version_id)) == names
            assert [step.concept.name for step in versions.lineage(session, branched, version_id)] == names
            assert versions.number_of(session, version_id) == number


def test_moves_of_head_say_where_they_went(branched: History, ada: Person, uow: UnitOfWork, sessions: Sessions) -> None:
    for number in (1, 2, 3, 0, 3, 3):
        head.move_head(uow, ada.id, branched.id, number)
    with sessions() as session:
        moves = head.list_head_moves(session, branched.id, 10)
    said = [move.why for move in reversed(moves)]  # going where one is already is no move
    assert said == ["rolled back", "went forward", "went to another branch", "rolled back", "went forward"]
    assert all(move.user_id == ada.id for move in moves)


def test_undoing_a_move_puts_head_back_and_undoing_again_does_it_again(
    branched: History, ada: Person, uow: UnitOfWork, sessions: Sessions
) -> None:
    head.move_head(uow, ada.id, branched.id, 0)
    with sessions() as session:
        for number in (3, 0, 3):
            head_id = head.undo_head_move(uow, ada.id, branched.id).head_id
            assert versions.number_of(session, head_id) == number


def test_where_head_never_moved_there_is_nothing_to_undo(ada: Person, uow: UnitOfWork) -> None:
    with pytest.raises(Conflict, match="never moved"):
        head.undo_head_move(uow, ada.id, ada.history_id)


def test_moves_that_come_at_once_follow_one_another(branched: History, ada: Person, sessions: Sessions) -> None:
    """Each begins where the one before it ended, so the log can be walked back."""

    def move(number: int) -> None:
        head.move_head(UnitOfWork(sessions, lambda *_args, **_kwargs: None), ada.id, branched.id, number)

    threads = [threading.Thread(target=move, args=(number % 4,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with sessions() as session:
        moves = session.scalars(select(HeadMove).order_by(HeadMove.id)).all()
        assert session.get_one(History, branched.id).head_id == moves[-1].to_id
    assert all(before.to_id == after.from_id for before, after in pairwise(moves))


def test_rolling_back_deletes_nothing(branched: History, ada: Person, uow: UnitOfWork, sessions: Sessions) -> None:
    head.move_head(uow, ada.id, branched.id, 0)
    with sessions() as session:
        assert len(session.scalars(select(Version)).all()) == 3
        assert len(session.scalars(select(Concept)).all()) == 3


def test_names_are_tidied_and_taken_once_by_each_user(ada: Person, bob: Person, uow: UnitOfWork) -> None:
    assert service.create_history(uow, ada.id, "  my \n mugs ").name == "my mugs"
    with pytest.raises(Conflict, match="You have a history named my mugs already"):
        service.create_history(uow, ada.id, "my mugs")
    with pytest.raises(Conflict):
        service.change_history(uow, ada.id, ada.history_id, "my mugs")
    assert service.create_history(uow, bob.id, "my mugs").owner_id == bob.id


@pytest.mark.parametrize("name", ["", "   ", "x" * 81, "a\x00b", "a\ud800b", "\x1b[2J"])
def test_names_that_cannot_be_written_are_refused(name: str, ada: Person, uow: UnitOfWork) -> None:
    for change in (
        lambda: service.create_history(uow, ada.id, name),
        lambda: service.change_history(uow, ada.id, ada.history_id, name),
    ):
        with pytest.raises(Invalid) as refused:
            change()
        assert refused.value.field == "name"


def test_a_history_needs_a_base_that_a_worker_has_loaded(ada: Person, uow: UnitOfWork, sessions: Sessions) -> None:
    with pytest.raises(NotFound):
        service.create_history(uow, ada.id, "other", "f" * 64)
    with sessions() as session:
        session.execute(delete(History))
        session.execute(delete(BaseModelRow))
        session.commit()
    with pytest.raises(Unavailable, match="No worker has reported its base model yet"):
        service.create_history(uow, ada.id, "other")


def test_the_base_of_a_new_history_is_the_one_reported_last(ada: Person, uow: UnitOfWork, sessions: Sessions) -> None:
    with sessions() as session:
        make.base_model(session, "c" * 64)
    assert service.create_history(uow, ada.id, "new").base_id == "c" * 64
    assert service.create_history(uow, ada.id, "old", make.BASE_ID).base_id == make.BASE_ID


def test_a_version_can_be_named_and_the_bare_base_cannot(branched: History, ada: Person, uow: UnitOfWork) -> None:
    assert versions.rename_version(uow, ada.id, branched.id, 2, " before  the mug ").label == "before the mug"
    assert versions.rename_version(uow, ada.id, branched.id, 2, " ").label is None
    for number, label in ((0, "mine"), (1, "x" * 81), (1, "\x07")):
        with pytest.raises(Invalid):
            versions.rename_version(uow, ada.id, branched.id, number, label)


def test_numbers_that_no_version_can_have_are_not_found(branched: History, ada: Person) -> None:
    for number in (4, -1, 2**31, 10**30):
        assert ada.ask("GET", f"/histories/{branched.id}/versions/{number}").status_code == 404
    bare = ada.ask("GET", f"/histories/{branched.id}/versions/0")
    assert (bare.status_code, "bare base" in bare.json()["detail"]) == (404, True)
    assert ada.ask("POST", f"/histories/{branched.id}/head", json={"version": 10**30}).status_code in (404, 422)


def test_versions_are_shown_with_parents_and_come_by_pages(branched: History, ada: Person) -> None:
    whole = ada.ask("GET", f"/histories/{branched.id}/versions").json()
    assert [(one["number"], one["parent"], one["is_head"]) for one in whole["items"]] == [
        (1, 0, False),
        (2, 1, False),
        (3, 1, True),
    ]
    assert (whole["head"], whole["next"]) == (3, None)
    first = ada.ask("GET", f"/histories/{branched.id}/versions", params={"limit": 2}).json()
    second = ada.ask("GET", f"/histories/{branched.id}/versions", params={"limit": 2, "cursor": first["next"]}).json()
    assert [one["number"] for one in first["items"] + second["items"]] == [1, 2, 3]
    assert second["items"][0] == ada.ask("GET", f"/histories/{branched.id}/versions/3").json()


def test_histories_come_by_pages(ada: Person) -> None:
    for number in range(4):
        ada.ask("POST", "/histories", json={"name": f"history {number}"})
    names, cursor = [], None
    for _ in range(3):
        page = ada.ask("GET", "/histories", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        names += [one["name"] for one in page["items"]]
        cursor = page["next"]
    assert names == ["pets", *(f"history {number}" for number in range(4))]
    assert cursor is None


def test_a_delta_is_downloaded_whole_and_not_sent_to_whoever_has_it(
    ada: Person, sessions: Sessions, store: BlobStore
) -> None:
    with sessions() as session:
        version = make.version(session, session.get_one(History, ada.history_id), 1, "rex")
        digest = store.put(b"learned values")
        session.add(Blob(sha256=digest, size_bytes=14, media_type="application/octet-stream"))
        session.flush()
        version = session.get_one(Version, version.id)
        version.delta_sha256 = digest
        session.commit()
    path = f"/histories/{ada.history_id}/versions/1/delta"
    answer = ada.ask("GET", path)
    assert answer.content == b"learned values"
    assert answer.headers["content-disposition"] == 'attachment; filename="version-1.safetensors"'
    again = ada.ask("GET", path, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert ada.ask("GET", f"/histories/{ada.history_id}/versions/0/delta").status_code == 404


def test_a_deleted_history_takes_everything_in_it_along_and_nothing_else(
    branched: History, ada: Person, bob: Person, uow: UnitOfWork, sessions: Sessions
) -> None:
    ada.teach("fern")
    ada.ask("POST", f"/histories/{branched.id}/generations", json={"prompt": "<rex> beside <mug>"})
    bob.teach("rex")
    with pytest.raises(NotFound):
        service.delete_history(uow, bob.id, branched.id)
    service.delete_history(uow, ada.id, branched.id)
    with sessions() as session:
        assert session.scalars(select(History.owner_id)).all() == [bob.id]
        assert session.scalars(select(Job.owner_id)).all() == [bob.id]
        assert session.scalars(select(Concept.name)).all() == ["rex"]
        assert not session.scalars(select(Version)).all()
        assert not session.scalars(select(HeadMove)).all()
        assert not session.scalars(select(Generation)).all()
    with pytest.raises(NotFound):
        service.delete_history(uow, ada.id, uuid4())
