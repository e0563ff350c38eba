"""Jobs that are gone, and sessions that are over, while a page follows them: one dead job stops no other."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from playwright.sync_api import Route, expect
from sqlalchemy import delete

from app.accounts.models import User
from app.generations.models import Generation
from app.histories.models import History
from app.jobs.models import Job, JobEvent, JobState
from tests.e2e.site import Site, Visitor
from tests.e2e.story import Writer, tell
from tests.e2e.test_meanwhile import NOT_SENT, finish, log_in_again, log_out_elsewhere

GONE = "It is no longer here: it was erased or deleted."
A_WHILE_MS = 16_000  # after which a page looks at what it has heard nothing of


@pytest.fixture
def reader(site: Site) -> Visitor:
    return site.visit(logged_in="reader")


def ask_for(visitor: Visitor, *prompts: str) -> list[Generation]:
    """Requests that wait, in one history."""
    with visitor.site.sessions() as session:
        write = Writer(session, visitor.site.store, session.get_one(User, visitor.user_id))
        write.asked("made long ago", None, JobState.DONE, 60, ["zigi"], count=1)
        made = [write.asked(prompt, None, JobState.QUEUED, 1, count=1) for prompt in prompts]
        session.commit()
        return made


def erase(visitor: Visitor, made: Generation) -> None:
    """As an erasure does: without a word to whoever follows it."""
    with visitor.site.sessions.begin() as session:
        session.execute(delete(Job).where(Job.id == made.job_id))


def test_a_request_that_is_erased_while_it_waits_says_so_and_the_others_go_on(reader: Visitor) -> None:
    erased, other = ask_for(reader, "at a version that goes", "at one that stays")
    reader.page.clock.install()
    page = reader.go(f"/histories/{erased.history_id}")
    expect(page.locator("[data-job]")).to_have_count(2)
    erase(reader, erased)
    page.clock.fast_forward(A_WHILE_MS)
    card = page.locator(f"#generation-{erased.id}")
    expect(card.locator("[data-standing]")).to_have_text(GONE)
    expect(card.get_by_role("button", name="Cancel")).to_have_count(0)
    reader.look("erased meanwhile", full=False)
    finish(reader, other)
    expect(page.locator(f"#generation-{other.id} a[data-picture] img")).to_have_count(1)


def test_a_stream_that_is_refused_for_one_job_goes_on_with_the_others(reader: Visitor) -> None:
    erased, other = ask_for(reader, "at a version that goes", "at one that stays")

    def erase_before_it_is_followed(route: Route) -> None:
        erase(reader, erased)
        route.continue_()

    page = reader.page
    page.route("**/events?*", erase_before_it_is_followed)
    reader.go(f"/histories/{erased.history_id}")
    expect(page.locator(f"#generation-{erased.id} [data-standing]")).to_have_text(GONE, timeout=20_000)
    finish(reader, other)
    expect(page.locator(f"#generation-{other.id} a[data-picture] img")).to_have_count(1, timeout=20_000)


def test_a_learning_whose_history_is_deleted_elsewhere_says_so(reader: Visitor) -> None:
    with reader.site.sessions() as session:
        write = Writer(session, reader.site.store, session.get_one(User, reader.user_id))
        learned = write.learned("zigi", 1, None, 5)
        job = session.get_one(Job, learned.job_id)
        job.state, job.finished_at = JobState.RUNNING.value, None
        job.lease_until = datetime.now(UTC) + timedelta(hours=1)
        session.execute(delete(JobEvent).where(JobEvent.job_id == job.id))
        session.commit()
        history, job_id = write.history.id, job.id
    page = reader.go(f"/jobs/{job_id}")
    expect(page.locator("#learning[data-job]")).to_have_count(1)
    with reader.site.sessions.begin() as session:
        session.execute(delete(History).where(History.id == history))
    expect(page.locator("[data-standing]")).to_have_text(GONE, timeout=30_000)
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)


def test_whoever_waits_when_their_session_is_over_is_sent_to_the_door_with_what_they_typed(reader: Visitor) -> None:
    (made,) = ask_for(reader, "still waiting")
    page = reader.page
    page.clock.install()
    reader.go(f"/histories/{made.history_id}")
    page.get_by_label("What shall be in the picture?").fill(NOT_SENT)
    log_out_elsewhere(reader)
    page.clock.fast_forward(A_WHILE_MS)
    assert isinstance(reader.user_id, UUID)
    log_in_again(reader, reader.user_id)
    expect(page.get_by_label("What shall be in the picture?")).to_have_value(NOT_SENT)


def test_places_in_the_queue_come_forward_and_what_is_opened_stays_open(reader: Visitor) -> None:
    first, second = ask_for(reader, "asked for first", "asked for then")
    page = reader.page
    page.clock.install()
    reader.go(f"/histories/{first.history_id}")
    card = page.locator(f"#generation-{second.id}")
    standing = card.locator("[data-standing]")
    before = int(standing.inner_text().split("Waiting, ")[1].split(" ")[0])
    card.get_by_text("Settings").click()
    with reader.site.sessions.begin() as session:  # nobody tells: not even that it has ended
        session.get_one(Job, first.job_id).state = JobState.CANCELLED.value
    page.clock.fast_forward(A_WHILE_MS)
    if before > 1:
        expect(standing).to_contain_text(f"Waiting, {before - 1} job")
    else:
        expect(standing).to_contain_text("it is next")
    expect(card.get_by_text("Guidance", exact=True)).to_be_visible()


def test_a_learning_that_begins_while_its_timeline_is_looked_at_is_said_to_be_learned(reader: Visitor) -> None:
    with reader.site.sessions() as session:
        story = tell(session, reader.site.store, session.get_one(User, reader.user_id))
        job = session.get_one(Job, story.running_id)
        job.state, job.lease_until = JobState.QUEUED.value, None
        session.execute(delete(JobEvent).where(JobEvent.job_id == job.id))
        session.commit()
    page = reader.go(f"/histories/{story.history_id}/timeline")
    row = page.locator(".being-learned li")
    expect(row).to_contain_text("waits to be learned")
    expect(row.get_by_label("Steps taken")).to_be_hidden()
    with reader.site.sessions.begin() as session:
        job = session.get_one(Job, story.running_id)
        job.state, job.lease_until = JobState.RUNNING.value, datetime.now(UTC) + timedelta(hours=1)
        session.add(JobEvent(job_id=job.id, kind="state", data={"state": "running"}))
    expect(row).to_contain_text("is being learned")
    expect(row).to_contain_text("It begins.")
    expect(row.get_by_label("Steps taken")).to_be_visible()
