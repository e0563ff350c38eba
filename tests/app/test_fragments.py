"""Parts of pages that are kept: they follow whatever they show, and take no more room than they may."""

from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from markupsafe import Markup
from sqlalchemy import delete, update

from app.db import Sessions
from app.fragments import Fragments
from app.generations.models import Generation, Image
from app.histories.models import History
from app.jobs.models import Job, JobState
from app.storage import BlobStore
from tests.app import make
from tests.app.person import Person, painted


def look(client: TestClient, person: Person, path: str) -> str:
    return client.get(path, headers={"Authorization": f"Bearer {person.key}", "Accept": "text/html"}).text


@pytest.fixture
def drawn(ada: Person, sessions: Sessions, store: BlobStore) -> Generation:
    """A request that is done, with one of its two pictures."""
    with sessions() as session:
        history = session.get_one(History, ada.history_id)
        job = Job(owner_id=ada.id, history_id=history.id, kind="generate", state=JobState.DONE.value)
        session.add(job)
        session.flush()
        asked = {
            "seed": 1,
            "count": 2,
            "steps": 20,
            "guidance": 4.0,
            "sampler": "ddim",
            "width_px": 64,
            "height_px": 64,
        }
        made = Generation(history_id=history.id, job_id=job.id, version_id=None, prompt="a red mug", **asked)
        session.add(made)
        session.commit()
        make.image(session, store, made.id, painted(1))
        return made


def test_a_picture_that_comes_or_goes_is_seen_at_once(
    client: TestClient, ada: Person, drawn: Generation, sessions: Sessions, store: BlobStore
) -> None:
    studio = f"/histories/{drawn.history_id}"
    assert look(client, ada, studio).count('<li class="picture') == 1
    with sessions() as session:
        make.image(session, store, drawn.id, painted(2), position=1)
    assert look(client, ada, studio).count('<li class="picture') == 2
    with sessions() as session:
        session.execute(delete(Image).where(Image.generation_id == drawn.id))
        session.commit()
    page = look(client, ada, studio)
    assert page.count('<li class="picture') == 0
    assert "Its pictures were deleted" in page


def test_time_goes_on_in_what_is_kept(client: TestClient, ada: Person, drawn: Generation, sessions: Sessions) -> None:
    studio = f"/histories/{drawn.history_id}"
    assert "just now" in look(client, ada, studio)
    with sessions() as session:
        earlier = {"created_at": drawn.created_at - timedelta(hours=5)}
        session.execute(update(Generation).where(Generation.id == drawn.id).values(earlier))
        session.commit()
    assert "5 hours ago" in look(client, ada, studio)


def test_a_history_that_was_renamed_has_its_new_name_in_the_list_of_jobs(
    client: TestClient, ada: Person, drawn: Generation, sessions: Sessions
) -> None:
    assert "pets ·" in look(client, ada, "/jobs")
    with sessions() as session:
        session.execute(update(History).where(History.id == drawn.history_id).values(name="things"))
        session.commit()
    page = look(client, ada, "/jobs")
    assert "things ·" in page
    assert "pets ·" not in page


def test_a_job_that_is_tried_again_and_done_says_how_long_it_took_this_time(
    client: TestClient, ada: Person, drawn: Generation, sessions: Sessions
) -> None:
    for minutes in (1, 3):
        with sessions() as session:
            job = session.get_one(Job, drawn.job_id)
            job.started_at, job.finished_at = job.created_at, job.created_at + timedelta(minutes=minutes)
            session.commit()
        assert f"took {minutes} min" in look(client, ada, "/jobs")


def test_what_was_used_least_lately_goes_when_there_is_no_more_room() -> None:
    made: list[str] = []

    def part(name: str) -> Markup:
        def make_it() -> Markup:
            made.append(name)
            return Markup("{}").format(name * 4)

        return fragments.get(name, make_it)

    fragments = Fragments(most_characters=8)
    assert [part(name) for name in "abacab"] == ["aaaa", "bbbb", "aaaa", "cccc", "aaaa", "bbbb"]
    assert made == ["a", "b", "c", "b"]
