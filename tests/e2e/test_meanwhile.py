"""What happens while somebody is at a page: jobs that end, lines that break, sessions that are over. Nothing that they
are doing is lost by it, and nothing that they wait for fails to come.
"""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy import delete, select

from app.accounts.models import LoginSession, User
from app.generations.models import Generation, Image
from app.jobs.models import Job, JobEvent, JobState
from tests.e2e.site import Site, Visitor, holding
from tests.e2e.story import Story, Writer, tell

NOT_SENT = "a photo of <momo> cat that nobody has asked for yet"


@pytest.fixture
def reader(site: Site) -> Visitor:
    return site.visit(logged_in="reader")


@pytest.fixture
def story(reader: Visitor) -> Story:
    with reader.site.sessions() as session:
        return tell(session, reader.site.store, session.get_one(User, reader.user_id))


def change(visitor: Visitor, job_id: UUID, state: JobState) -> None:
    """As a worker or the sweep does: the job, and what is told of it."""
    with visitor.site.sessions.begin() as session:
        job = session.get_one(Job, job_id)
        job.state, job.lease_until = state.value, None
        if state is not JobState.QUEUED:
            job.finished_at = datetime.now(UTC)
        session.add(JobEvent(job_id=job_id, kind="state", data={"state": state.value}))


def finish(visitor: Visitor, made: Generation) -> None:
    """Its one picture is there; which one it is does not matter."""
    with visitor.site.sessions.begin() as session:
        some = session.scalars(select(Image.blob_sha256)).first()
        assert some is not None
        image = Image(generation_id=made.id, position=0, seed=1, blob_sha256=some, width_px=64, height_px=64)
        session.add(image)
    assert made.job_id
    change(visitor, made.job_id, JobState.DONE)


def asked_in(visitor: Visitor, story: Story, words: str) -> Generation:
    with visitor.site.sessions() as session:
        asked = select(Generation).where(Generation.history_id == story.history_id, Generation.prompt.contains(words))
        return session.scalars(asked.order_by(Generation.created_at.desc())).first() or pytest.fail(words)


# --- cards ---------------------------------------------------------------------------------------------------------


def test_cards_whose_jobs_end_within_one_answer_all_show_their_pictures_and_a_picture_opens_meanwhile(
    reader: Visitor,
) -> None:
    with reader.site.sessions() as session:
        write = Writer(session, reader.site.store, session.get_one(User, reader.user_id))
        write.asked("made long ago", None, JobState.DONE, 60, ["zigi"], count=1)
        made = [write.asked(f"number {place}", None, JobState.RUNNING, 1, count=1) for place in range(3)]
        session.commit()
    page = reader.go(f"/histories/{write.history.id}")
    with holding(page, "**/generations/*/card"):
        for one in made:
            finish(reader, one)
        expect(page.locator("[data-job]")).to_have_count(0)  # it was told of every end
        page.locator("a[data-picture]").click()
        expect(page.get_by_role("dialog").get_by_text("Seed", exact=True)).to_be_visible()
        page.keyboard.press("Escape")
    expect(page.locator(".generation a[data-picture] img")).to_have_count(4)


@pytest.mark.parametrize(
    "how", ["the service is being started anew", "a proxy says that it is away", "the line breaks"]
)
def test_a_card_that_could_not_be_had_when_its_job_ended_is_asked_for_again(
    reader: Visitor, story: Story, how: str
) -> None:
    page = reader.go(f"/histories/{story.history_id}")
    failures = []

    def fail_once(route: Route) -> None:
        if failures:
            route.continue_()
        elif how == "the line breaks":
            failures.append(route.request.url)
            route.abort()
        elif how == "a proxy says that it is away":
            failures.append(route.request.url)
            route.fulfill(status=502, content_type="text/html", body="<html><body><h1>Bad gateway</h1></body></html>")
        else:
            failures.append(route.request.url)
            route.fulfill(status=503)

    page.route("**/generations/*/card", fail_once)
    running = asked_in(reader, story, "cat next to <zigi>")
    finish(reader, running)
    expect(page.locator(f"#generation-{running.id} a[data-picture] img")).to_have_count(1)
    expect(page.get_by_text("Bad gateway")).to_have_count(0)
    assert len(failures) == 1
    assert [one for one in reader.wrong if one.startswith("console:")] == reader.wrong
    reader.wrong.clear()


def test_pictures_that_go_back_into_the_queue_are_shown_as_waiting(reader: Visitor, story: Story) -> None:
    running = asked_in(reader, story, "cat next to <zigi>")
    page = reader.go(f"/histories/{story.history_id}")
    card = page.locator(f"#generation-{running.id}")
    expect(card).to_contain_text("Step 22 of 80")
    assert running.job_id
    change(reader, running.job_id, JobState.QUEUED)
    expect(card).to_contain_text("Waiting")
    expect(card.locator(".picture.queued")).to_have_count(4)
    page.goto(f"{reader.site.url}/jobs/{story.running_id}")
    expect(page.locator("[data-standing]")).to_contain_text("Step 118 of 200")
    change(reader, story.running_id, JobState.QUEUED)
    expect(page.locator("[data-state-mark]")).to_have_text("waiting")
    expect(page.locator("[data-standing]")).to_contain_text("Waiting")


def test_cancelling_and_trying_again_change_their_card_and_keep_what_is_typed(reader: Visitor, story: Story) -> None:
    made = asked_in(reader, story, "in front of bricks")
    page = reader.go(f"/histories/{story.history_id}")
    prompt, card = page.get_by_label("What shall be in the picture?"), page.locator(f"#generation-{made.id}")
    prompt.fill(NOT_SENT)
    card.get_by_role("button", name="Cancel").press("Enter")
    expect(card.get_by_role("button", name="Try again")).to_be_visible()
    expect(card).to_be_focused()
    card.get_by_role("button", name="Try again").press("Enter")
    expect(card.get_by_role("button", name="Cancel")).to_be_visible()
    finish(reader, made)
    expect(card.locator("a[data-picture] img")).to_have_count(1)
    expect(prompt).to_have_value(NOT_SENT)


def test_deleting_a_picture_in_the_viewer_keeps_what_is_typed(reader: Visitor, story: Story) -> None:
    with reader.site.sessions.begin() as session:  # the newest card has one picture
        made = asked_in(reader, story, "cat at night")
        session.execute(delete(Image).where(Image.generation_id == made.id, Image.position > 0))
    page = reader.go(f"/histories/{story.history_id}")
    page.get_by_label("What shall be in the picture?").fill(NOT_SENT)
    card = page.locator(f"#generation-{made.id}")
    card.locator("a[data-picture]").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Keep it").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete it").click()
    expect(card).to_contain_text("Its pictures were deleted. Its settings are still here.")
    expect(page.locator("#viewer")).to_be_hidden()
    expect(page.get_by_label("What shall be in the picture?")).to_have_value(NOT_SENT)


def test_deleting_a_picture_in_the_gallery_keeps_what_is_chosen(reader: Visitor, story: Story) -> None:
    page = reader.go("/gallery")
    pictures = page.locator("#wall .picture")
    shown = pictures.count()
    pictures.nth(2).get_by_role("checkbox").check(force=True)
    pictures.nth(1).locator("a").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete it").click()
    expect(pictures).to_have_count(shown - 1)
    expect(page.locator("[data-count]")).to_have_text("1 chosen")
    expect(pictures.nth(1).locator("a")).to_be_focused()


# --- a session that is over ----------------------------------------------------------------------------------------


def log_out_elsewhere(visitor: Visitor) -> None:
    with visitor.site.sessions.begin() as session:
        session.execute(delete(LoginSession).where(LoginSession.user_id == visitor.user_id))


def log_in_again(visitor: Visitor, user_id: UUID) -> Page:
    """At the door, where a press on Generate has led."""
    expect(visitor.page.get_by_role("heading", name="Log in")).to_be_visible()
    cookie = {"name": "palimpsest_session", "value": visitor.site.log_in(user_id), "url": visitor.site.url}
    visitor.context.add_cookies([cookie])  # type: ignore[list-item]
    visitor.page.reload()
    return visitor.page


def type_and_be_sent_to_the_door(reader: Visitor, story: Story) -> str:
    with reader.site.sessions() as session:
        image = session.scalars(
            select(Image).join(Generation).where(Generation.history_id == story.history_id, Image.seed == 41)
        ).first()
    assert image is not None
    page = reader.go(f"/histories/{story.history_id}?from={image.id}")
    page.get_by_label("What shall be in the picture?").fill(NOT_SENT)
    page.get_by_text("Size, steps, guidance, seed").click()
    page.get_by_label("Steps", exact=True).fill("33")
    page.get_by_label("Several concepts").select_option("no")
    page.get_by_text("Regions: what goes where").click()
    page.get_by_role("button", name="Add a box").click()
    page.locator("[id='regions.0.prompt']").fill("a mug")
    log_out_elsewhere(reader)
    page.get_by_role("button", name="Generate").click()
    return f"{reader.site.url}/histories/{story.history_id}?from={image.id}"


def test_what_was_typed_when_the_session_was_over_is_there_after_the_login(reader: Visitor, story: Story) -> None:
    address = type_and_be_sent_to_the_door(reader, story)
    assert reader.user_id
    page = log_in_again(reader, reader.user_id)
    expect(page).to_have_url(address)
    expect(page.get_by_label("What shall be in the picture?")).to_have_value(NOT_SENT)
    expect(page.get_by_label("Steps", exact=True)).to_have_value("33")
    expect(page.get_by_label("Steps", exact=True)).to_be_visible()
    expect(page.get_by_label("Several concepts")).to_have_value("no")
    expect(page.locator("[data-box]")).to_have_count(1)
    expect(page.locator("[id='regions.0.prompt']")).to_have_value("a mug")
    expect(page.get_by_label("Seed", exact=True)).to_have_value("41")  # of the picture, as before
    expect(page.get_by_text("What you had typed is still here.")).to_be_visible()
    reader.look("back after the login", full=False)
    page.reload()
    expect(page.get_by_label("What shall be in the picture?")).not_to_have_value(NOT_SENT)


def test_what_was_typed_is_nobody_elses(reader: Visitor, story: Story) -> None:
    type_and_be_sent_to_the_door(reader, story)
    other = reader.site.visit(logged_in="other")
    assert other.user_id
    page = log_in_again(reader, other.user_id)
    expect(page.get_by_text("There is no such history.")).to_be_visible()
    page.goto(f"{reader.site.url}/account")
    expect_nothing_kept(page)


def expect_nothing_kept(page: Page) -> None:
    page.wait_for_load_state()  # what a page shows comes before its scripts have run
    assert page.evaluate("sessionStorage.getItem('typed')") is None


def type_a_lesson(page: Page) -> None:
    page.get_by_label("Name", exact=True).fill("my-mug")
    page.get_by_label("What is it?").fill("mug")
    page.get_by_text("How it is learned").click()
    page.get_by_label("Steps", exact=True).fill("33")


def expect_the_lesson(page: Page) -> None:
    expect(page.get_by_text("What you had typed is still here.")).to_be_visible()
    expect(page.get_by_label("Name", exact=True)).to_have_value("my-mug")
    expect(page.get_by_label("What is it?")).to_have_value("mug")
    expect(page.get_by_label("Steps", exact=True)).to_have_value("33")
    expect(page.get_by_label("Steps", exact=True)).to_be_visible()


def test_a_form_that_was_sent_when_the_session_was_over_is_filled_in_again_after_the_login(
    reader: Visitor, story: Story
) -> None:
    address = f"{reader.site.url}/histories/{story.history_id}/teach"
    page = reader.go(f"/histories/{story.history_id}/teach")
    type_a_lesson(page)
    log_out_elsewhere(reader)
    page.get_by_role("button", name="Start learning").last.click()
    expect(page.get_by_text("You are logged out, so nothing was done.")).to_be_visible()
    reader.look("logged out", full=False)
    page.get_by_role("link", name="Log in").click()
    assert reader.user_id
    log_in_again(reader, reader.user_id)
    expect(page).to_have_url(address)
    expect_the_lesson(page)


def test_a_form_of_an_older_session_is_filled_in_again_when_one_goes_back_to_it(reader: Visitor, story: Story) -> None:
    page = reader.go(f"/histories/{story.history_id}/teach")
    type_a_lesson(page)
    assert reader.user_id
    token = reader.site.log_in(reader.user_id)  # in another tab
    reader.context.add_cookies([{"name": "palimpsest_session", "value": token, "url": reader.site.url}])
    page.get_by_role("button", name="Start learning").last.click()
    expect(page.get_by_text("This form has expired.")).to_be_visible()
    page.goto(f"{reader.site.url}/gallery")  # by a detour
    page.goto(f"{reader.site.url}/histories/{story.history_id}/teach")
    expect_the_lesson(page)
    page.get_by_role("button", name="Start learning").last.click()  # without pictures: the form says so
    expect(page.locator("#pictures-problem")).to_be_visible()
    expect(page.get_by_text("What you had typed is still here.")).to_have_count(0)
    expect_nothing_kept(page)


def test_what_was_sent_and_has_arrived_is_not_offered_again(reader: Visitor, story: Story) -> None:
    timeline = f"/histories/{story.history_id}/timeline?version=1"
    page = reader.go(timeline)
    page.get_by_text("Give it a name of your own").click()
    page.get_by_label("Name of this version").fill("before the cat")
    page.get_by_label("Name of this version").press("Enter")
    expect(page.locator(".versions")).to_contain_text("before the cat")
    expect(page.locator(".notice")).to_have_count(0)
    expect_nothing_kept(page)


def test_a_form_that_the_line_lost_is_filled_in_again_when_one_goes_back(reader: Visitor, story: Story) -> None:
    page = reader.go(f"/histories/{story.history_id}/teach")
    type_a_lesson(page)
    away = {"status": 502, "content_type": "text/html", "body": "<h1>Away</h1>"}
    page.route("**/teach", lambda route: route.fulfill(**away) if route.request.method == "POST" else route.continue_())
    page.get_by_role("button", name="Start learning").last.click()
    expect(page.get_by_text("Away", exact=True)).to_be_visible()
    page.go_back()
    expect(page.get_by_label("Name", exact=True)).to_have_value("my-mug")
    expect(page.get_by_label("What is it?")).to_have_value("mug")
    assert [one for one in reader.wrong if "status of 502" in one] == reader.wrong
    reader.wrong.clear()


# --- lists and trees -----------------------------------------------------------------------------------------------


def test_cancelling_a_learning_in_the_list_asks_and_the_list_waits_for_the_answer(
    reader: Visitor, story: Story
) -> None:
    page = reader.go("/jobs")
    row = page.locator(".job").filter(has=page.locator(f"#about-{story.running_id}"))
    row.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Cancel learning <bolt>? What it has learned so far is thrown away.")).to_be_visible()
    with (
        page.expect_response(lambda one: "/jobs?" in one.url and one.status == 200),
        reader.site.sessions.begin() as session,
    ):
        session.get_one(Job, story.running_id).step = 119
    page.get_by_role("button", name="Stop learning").click()
    expect(row.locator("[data-state-mark]")).to_have_text("ending")


def test_a_learning_that_ends_takes_nothing_out_of_the_hands_of_who_reads_the_timeline(
    reader: Visitor, story: Story
) -> None:
    page = reader.go(f"/histories/{story.history_id}/timeline?version=1")
    page.get_by_text("Give it a name of your own").click()
    label = page.get_by_label("Name of this version")
    label.fill("before the cat")
    label.blur()
    change(reader, story.running_id, JobState.CANCELLED)
    notice = page.locator(".notice")
    expect(notice).to_contain_text("There is something new.")
    expect(label).to_have_value("before the cat")
    reader.look("something new", full=False)
    notice.get_by_role("link", name="Show it").click()
    expect(page.locator(".being-learned")).to_have_count(0)


def test_a_timeline_at_which_nothing_is_typed_shows_what_is_new_by_itself(reader: Visitor, story: Story) -> None:
    page = reader.go(f"/histories/{story.history_id}/timeline")
    expect(page.locator(".being-learned")).to_have_count(1)
    change(reader, story.running_id, JobState.CANCELLED)
    expect(page.locator(".being-learned")).to_have_count(0)


def test_a_version_is_opened_in_a_tab_of_its_own_by_whoever_asks_for_that(reader: Visitor, story: Story) -> None:
    page = reader.go(f"/histories/{story.history_id}/timeline")
    with reader.context.expect_page() as opened:
        page.locator(".version-link").filter(has_text="zigi").click(modifiers=["Control"])
    expect(opened.value.locator("#version")).to_contain_text("Version 1")
    expect(page.locator("#version")).to_contain_text("Version 2")


def test_of_a_list_that_cannot_be_had_it_is_told_once_and_until_it_can_be(reader: Visitor, story: Story) -> None:
    page = reader.page
    page.clock.install()
    reader.go("/jobs")
    failures: list[str] = []

    def fail(route: Route) -> None:
        failures.append(route.request.url)
        route.fulfill(status=503)

    page.route("**/jobs?*", fail)
    notice = page.locator(".notice")
    page.clock.run_for(2_100)
    expect(notice).to_have_text("The server does not answer as it should. This page shows what was last known.Close")
    page.clock.run_for(30_000)  # less and less often: not fifteen times
    expect(notice).to_have_count(1)
    assert 1 < len(failures) < 6
    page.unroute("**/jobs?*")
    page.clock.run_for(60_000)
    expect(notice).to_have_count(0)
    assert [one for one in reader.wrong if "503" in one] == reader.wrong
    reader.wrong.clear()
