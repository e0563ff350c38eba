"""Teaching in a browser with a real worker: drop, choose, caption, watch, cancel, be refused."""

import base64
import re
from pathlib import Path
from uuid import UUID

import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy import update

from app.concepts.models import UploadCaption
from app.jobs.models import Job
from tests.e2e.site import PATIENCE_MS, Site, Visitor, holding
from tests.worker.processes import wait_until

SAMPLES = Path(__file__).resolve().parents[2] / "storybook" / "samples"
STEPS = "6"

_DROP = """(zone, files) => {
    const transfer = new DataTransfer();
    for (const [name, kind, data] of files) {
        const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
        transfer.items.add(new File([bytes], name, { type: kind }));
    }
    for (const kind of ["dragenter", "dragover", "drop"]) {
        zone.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));
    }
}"""


def drop(page: Page, files: list[tuple[str, str, bytes]]) -> None:
    """As when files are dragged from the desktop onto the page."""
    data = [[name, kind, base64.b64encode(content).decode()] for name, kind, content in files]
    page.locator("[data-drop-zone]").evaluate(_DROP, data)


def sample(name: str, number: int) -> tuple[str, str, bytes]:
    path = SAMPLES / name / f"{number}.png"
    return f"{name}-{number}.png", "image/png", path.read_bytes()


@pytest.fixture
def ada(working_site: Site) -> Visitor:
    return working_site.visit(logged_in="ada")


def name_it(page: Page, name: str, noun: str, steps: str = STEPS) -> None:
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("What is it?").fill(noun)
    page.get_by_text("How it is learned").click()
    page.get_by_label("Steps", exact=True).fill(steps)
    page.get_by_label("Rows in a step").fill("2")


def test_pictures_are_dropped_and_chosen_captioned_and_the_learning_watched_to_its_end(ada: Visitor) -> None:
    history = ada.history()
    page = ada.go(f"/histories/{history}/teach")
    drop(page, [sample("zigi", 0), sample("zigi", 1)])
    page.locator("#files").set_input_files(SAMPLES / "zigi" / "2.png")
    cards = page.locator("[data-upload]")
    expect(cards).to_have_count(3)
    expect(cards.first.locator("img")).to_be_visible()
    expect(page.get_by_text("Few pictures:")).to_be_hidden()

    page.get_by_label("Caption of zigi-0.png").fill("a mug in the rain")
    cards.nth(1).get_by_role("button").click()
    expect(cards).to_have_count(2)
    expect(page.get_by_text("Few pictures:")).to_be_visible()
    name_it(page, "zigi", "mug")
    expect(page.locator("[data-as-prompt]")).to_contain_text("<zigi> mug on the beach")
    ada.look("teach")

    page.reload()  # what was dropped waits on the server
    expect(cards).to_have_count(2)
    page.get_by_label("Caption of zigi-0.png").fill("a mug in the rain")
    name_it(page, "zigi", "mug")
    page.get_by_role("button", name="Start learning").last.click()

    expect(page.get_by_role("heading", name="Learning <zigi>")).to_be_visible()
    expect(page.locator(".taught")).to_contain_text(re.compile("a (<zigi> )?mug in the rain"))
    expect(page.locator(".taught .token")).to_have_count(2, timeout=PATIENCE_MS)  # as soon as they are written
    ada.look("learning")
    expect(page.get_by_role("heading", name="Learned <zigi>")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator("[data-samples] img")).to_have_count(len({0, 1, 3, 4, 6}) + 1)
    expect(page.locator(".stages .done")).to_have_count(6)
    expect(page.locator(".curve canvas")).to_be_visible()
    expect(page.locator(".taught")).to_contain_text("zigi")
    ada.look("learned")
    page.get_by_role("link", name="Make pictures of it").click()
    expect(page.get_by_label("What shall be in the picture?")).to_have_value("a photo of a <zigi> mug")


def test_a_picture_that_is_refused_for_now_goes_up_again_when_its_time_has_come(ada: Visitor) -> None:
    page = ada.go(f"/histories/{ada.history()}/teach")
    refusals = [
        {"status": 429, "headers": {"retry-after": "3"}, "json": {"detail": "Too many."}},
        {"status": 503, "headers": {"retry-after": "3"}, "content_type": "text/html", "body": "<h1>Away</h1>"},
    ]

    def refuse_twice(route: Route) -> None:
        if refusals:
            route.fulfill(**refusals.pop(0))  # type: ignore[arg-type]
        else:
            route.continue_()

    page.route("**/uploads", refuse_twice)
    drop(page, [sample("zigi", 0), sample("zigi", 1)])
    said = page.locator("#said")
    for sentence in ("Too many at once; it goes up again in", "The server is busy; it goes up again in"):
        expect(page.locator(".upload.coming").first).to_contain_text(sentence)
        expect(said).to_have_text(re.compile(f"^zigi-0.png: {sentence} [0-9] s"))
        ada.look(f"waits-{len(refusals)}")
    expect(page.locator("[data-upload]")).to_have_count(2)
    expect(page.locator(".upload.coming")).to_have_count(0)
    expect(page.get_by_label("Caption of zigi-0.png")).to_be_visible()
    expect(page.locator(".upload.refused")).to_have_count(0)
    assert not refusals
    assert [one for one in ada.wrong if "status of 429" in one or "status of 503" in one] == ada.wrong
    ada.wrong.clear()


def test_whoever_closes_what_was_refused_goes_on_at_the_next_card(ada: Visitor) -> None:
    page = ada.go(f"/histories/{ada.history()}/teach")
    drop(page, [("notes.txt", "text/plain", b"no picture"), ("more.txt", "text/plain", b"no picture")])
    close = page.get_by_role("button", name="Close", exact=True)
    expect(close).to_have_count(2)
    page.route("**/uploads", lambda route: route.fulfill(status=500, content_type="text/html", body="<h1>Gone</h1>"))
    drop(page, [sample("zigi", 0)])
    expect(close).to_have_count(3)  # the last one is made by the page itself
    close.last.focus()
    for left in (2, 1):
        page.keyboard.press("Enter")
        expect(close).to_have_count(left)
        expect(close.last).to_be_focused()
    page.keyboard.press("Enter")
    expect(close).to_have_count(0)
    expect(page.locator("#files")).to_be_focused()
    assert [one for one in ada.wrong if "status of 500" in one] == ada.wrong
    ada.wrong.clear()


def wait_out_the_pauses(page: Page, count: int) -> None:
    """The time until a picture goes up again, so many times, without waiting for it."""
    for _ in range(count):
        expect(page.locator(".upload.coming")).to_contain_text("The server cannot be reached; it goes up again in")
        with page.expect_request("**/uploads"):
            page.clock.fast_forward(20_000)


def test_a_page_of_a_proxys_takes_no_pictures_place(ada: Visitor) -> None:
    ada.page.clock.install()
    page = ada.go(f"/histories/{ada.history()}/teach")
    page.route("**/uploads", lambda route: route.fulfill(status=502, content_type="text/html", body="<h1>Gone</h1>"))
    drop(page, [sample("zigi", 0)])
    wait_out_the_pauses(page, 4)
    expect(page.locator(".upload.refused")).to_contain_text("zigi-0.png: The server cannot be reached.")
    expect(page.get_by_text("Gone", exact=True)).to_have_count(0)
    assert [one for one in ada.wrong if "status of 502" in one] == ada.wrong
    ada.wrong.clear()


def test_a_picture_whose_line_broke_is_kept_and_goes_up_when_the_server_is_back(ada: Visitor) -> None:
    ada.page.clock.install()
    page = ada.go(f"/histories/{ada.history()}/teach")
    page.route("**/uploads", lambda route: route.abort())
    drop(page, [sample("zigi", 0)])
    wait_out_the_pauses(page, 4)
    refused = page.locator(".upload.refused")
    expect(refused).to_contain_text("zigi-0.png: The server cannot be reached. Try again")
    expect(refused).not_to_contain_text("What you typed")
    ada.look("never arrived", full=False)
    page.unroute("**/uploads")
    refused.get_by_role("button", name="Try again").click()
    expect(page.locator("[data-upload]")).to_have_count(1)
    expect(refused).to_have_count(0)
    assert [one for one in ada.wrong if "net::ERR_FAILED" in one] == ada.wrong
    ada.wrong.clear()


def test_captions_are_offered_follow_the_noun_and_give_way_to_what_is_typed(ada: Visitor) -> None:
    page = ada.go(f"/histories/{ada.history()}/teach")
    drop(page, [sample("momo", number) for number in range(3)])
    first, second, third = (page.get_by_label(f"Caption of momo-{number}.png") for number in range(3))
    first.fill("asleep")
    for field in (second, third):
        expect(field).to_have_attribute(
            "placeholder", re.compile("^left to us, or: a photo of a …"), timeout=PATIENCE_MS
        )
        expect(field).to_have_value("")
    page.get_by_label("What is it?").fill("cat")
    expect(second).to_have_value(re.compile(r"^a photo of a cat\b"))
    third.fill(f"{third.input_value()}, asleep")
    page.get_by_label("What is it?").fill("big cat")
    expect(second).to_have_value(re.compile(r"^a photo of a big cat\b"))
    expect(third).to_have_value(re.compile(r"^a photo of a cat\b.*, asleep$"))
    expect(first).to_have_value("asleep")
    ada.look("captions")

    page.locator("#files").set_input_files([{"name": "x.svg", "mimeType": "image/png", "buffer": b"<svg/>"}])
    page.get_by_label("Name", exact=True).fill("momo")
    page.get_by_text("How it is learned").click()
    page.get_by_label("Steps", exact=True).fill("none")
    page.get_by_role("button", name="Start learning").last.click()
    expect(page.get_by_text("Steps must be a whole number")).to_be_visible()
    expect(second).to_have_value(re.compile(r"^a photo of a big cat\b"))
    expect(third).to_have_value(re.compile(r"^a photo of a cat\b.*, asleep$"))
    page.get_by_label("What is it?").fill("cat")
    expect(second).to_have_value(re.compile(r"^a photo of a cat\b"))


def test_of_how_pictures_are_made_captions_say_what_they_show(ada: Visitor) -> None:
    page = ada.go(f"/histories/{ada.history()}/teach")
    drop(page, [sample("momo", 0), sample("zigi", 0)])
    cat, mug = (page.get_by_label(f"Caption of {name}-0.png") for name in ("momo", "zigi"))
    for field in (cat, mug):
        expect(field).to_have_attribute("placeholder", re.compile("a photo of a …"), timeout=PATIENCE_MS)
    noun, shown = page.get_by_label("What is it?"), page.locator("[data-as-prompt]")
    noun.fill("cat")
    expect(cat).to_have_value("a photo of a cat")
    noun.fill("drawing")
    expect(cat).to_have_value("")  # this worker has no judge, so it cannot say what is drawn
    expect(shown).to_contain_text("a <rex> drawing of a house")

    with ada.site.sessions.begin() as session:  # as a worker with one would
        session.execute(update(UploadCaption).values(subject="a cat at night"))
    page.reload()
    noun.fill("ink drawing")
    expect(cat).to_have_value("a ink drawing of a cat at night")
    mug.fill("a ink drawing of a mug")
    noun.fill("style")
    expect(cat).to_have_value("a photo of a cat at night in a style")
    expect(mug).to_have_value("a ink drawing of a mug")
    expect(shown).to_contain_text("a photo of a house in a <rex> style")
    ada.look("captions of a style")
    noun.fill("big cat")
    expect(cat).to_have_value("a photo of a big cat")
    expect(shown).to_contain_text("a photo of a <rex> big cat on the beach")


def test_what_is_refused_is_named_and_the_others_are_kept(ada: Visitor) -> None:
    page = ada.go(f"/histories/{ada.history()}/teach")
    drop(
        page,
        [
            sample("momo", 0),
            ("drawing.svg", "image/svg+xml", b"<svg xmlns='http://www.w3.org/2000/svg'/>"),
            ("broken.png", "image/png", sample("momo", 1)[2][:90]),
            ("empty.jpg", "image/jpeg", b""),
            ("again.png", "image/png", sample("momo", 0)[2]),
        ],
    )
    refused = page.locator(".upload.refused")
    expect(refused).to_have_count(3)
    expect(page.locator("[data-upload]")).to_have_count(2)
    for text in ("drawing.svg is a text with markup", "broken.png", "empty.jpg is empty"):
        expect(refused.filter(has_text=text)).to_have_count(1)
    expect(page.get_by_text("The same picture as momo-0.png")).to_be_visible()
    ada.look("refused")
    refused.first.get_by_role("button").click()
    expect(refused).to_have_count(2)

    name_it(page, "my cat", "cat")
    page.get_by_role("button", name="Start learning").last.click()
    assert page.url.endswith("/teach")  # the browser points at the name and sends nothing


@pytest.mark.parametrize("keys", ["Enter", "Control+Enter"])
def test_learning_does_not_start_while_pictures_are_on_their_way(ada: Visitor, keys: str) -> None:
    page = ada.go(f"/histories/{ada.history()}/teach")
    drop(page, [sample("momo", 0)])
    expect(page.locator("[data-upload]")).to_have_count(1)
    with holding(page, "**/uploads"):
        drop(page, [sample("momo", 1), sample("momo", 2)])
        expect(page.locator(".upload.coming")).to_have_count(2)
        page.get_by_label("Name", exact=True).fill("momo")
        page.get_by_label("What is it?").fill("cat")
        page.get_by_label("Name", exact=True).press(keys)
        expect(page.locator(".notice")).to_contain_text("2 pictures are still on the way.")
        ada.look("still on the way", full=False)
    expect(page.locator("[data-upload]")).to_have_count(3)
    page.get_by_text("How it is learned").click()
    page.get_by_label("Steps", exact=True).fill(STEPS)
    page.get_by_label("Name", exact=True).press(keys)
    expect(page.locator(".taught li")).to_have_count(3)


def test_a_picture_is_not_said_to_be_there_twice_when_the_other_was_taken_away(ada: Visitor) -> None:
    page = ada.go(f"/histories/{ada.history()}/teach")
    drop(page, [sample("momo", 0), ("again.png", "image/png", sample("momo", 0)[2])])
    expect(page.get_by_text("The same picture as momo-0.png")).to_be_visible()
    page.get_by_role("button", name="Take away momo-0.png").click()
    expect(page.locator("[data-upload]")).to_have_count(1)
    expect(page.get_by_text("The same picture as momo-0.png")).to_have_count(0)


def test_a_sample_asks_before_it_takes_the_place_of_ones_own_pictures(ada: Visitor) -> None:
    page = ada.go(f"/histories/{ada.history()}/teach")
    cards = page.locator("[data-upload]")
    page.locator("[data-sample]").filter(has_text="zigi").get_by_role("button").click()
    expect(cards).to_have_count(5)
    for number in range(4):
        cards.nth(0).get_by_role("button").click()
        expect(cards).to_have_count(4 - number)
    page.locator("[data-sample]").filter(has_text="momo").get_by_role("button").click()
    expect(page.get_by_text("Take your picture out of the form and put these in?")).to_be_visible()
    page.get_by_role("button", name="Keep mine").click()
    expect(cards).to_have_count(1)
    page.locator("[data-sample]").filter(has_text="momo").get_by_role("button").click()
    page.get_by_role("button", name="Put these in").click()
    expect(cards).to_have_count(5)
    expect(page.get_by_label("Name", exact=True)).to_have_value("momo")


@pytest.fixture
def long_learning(ada: Visitor) -> Page:
    """The page of a learning that would take hours."""
    page = ada.go(f"/histories/{ada.history()}/teach")
    drop(page, [sample("bolt", number) for number in range(3)])
    expect(page.locator("[data-upload]")).to_have_count(3)
    name_it(page, "bolt", "robot", steps="20000")
    page.get_by_role("button", name="Start learning").last.click()
    expect(page.locator("[data-stage=learning].now")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.locator("[data-standing]")).to_contain_text("of 20000", timeout=PATIENCE_MS)
    return page


def cancel(page: Page) -> None:
    page.wait_for_load_state("domcontentloaded")  # before its scripts have run, the button asks nothing
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Stop learning").click()
    expect(page.get_by_role("button", name="Try again")).to_be_visible(timeout=PATIENCE_MS)


def steps_shown(page: Page) -> int:
    return int(page.locator("[data-progress]").evaluate("bar => bar.value"))


def steps_stored(visitor: Visitor, page: Page) -> int:
    with visitor.site.sessions() as session:
        return session.get_one(Job, UUID(page.url.rpartition("/")[2])).step


def test_a_learning_goes_on_being_watched_when_its_page_is_loaded_again_or_its_line_breaks(
    ada: Visitor, long_learning: Page
) -> None:
    page = long_learning
    wait_until(lambda: steps_stored(ada, page) > 0, "a step was stored")
    stored = steps_stored(ada, page)
    page.reload()
    assert steps_shown(page) >= stored  # at once; the stream is up to a second ahead of what is stored
    begun = steps_shown(page)
    page.wait_for_function(
        "begun => document.querySelector('[data-progress]').value > begun", arg=begun, timeout=PATIENCE_MS
    )
    expect(page).to_have_title(re.compile(r"^\d+ % · Learning <bolt>"))

    # The service behind a proxy is started anew: the stream is refused once, and then asked for again.
    refusals = []

    def refuse_once(route: Route) -> None:
        if refusals:
            route.continue_()
        else:
            refusals.append(route.request.url)
            route.fulfill(status=503)

    page.route("**/events?*", refuse_once)
    page.reload()
    begun = steps_shown(page)
    page.wait_for_function(
        "begun => document.querySelector('[data-progress]').value > begun", arg=begun, timeout=PATIENCE_MS
    )
    assert len(refusals) == 1
    assert [one for one in ada.wrong if "status of 503" in one] == ada.wrong
    ada.wrong.clear()
    page.unroute("**/events?*")
    cancel(page)


def test_a_learning_is_cancelled_and_its_pictures_are_kept_for_another_try(ada: Visitor, long_learning: Page) -> None:
    page = long_learning
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Go on")).to_be_focused()  # who presses Enter at once loses nothing
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.get_by_role("button", name="Cancel")).to_be_enabled()
    cancel(page)
    expect(page.locator(".taught li")).to_have_count(3)
    page.goto(f"{ada.site.url}/jobs")
    expect(page.locator(".job .mark")).to_have_text("cancelled")

    page.get_by_role("button", name="Try again").click()
    expect(page.locator(".job .mark")).not_to_have_text("cancelled")
    page.get_by_role("link", name="Learning <bolt>").click()
    expect(page.locator("[data-standing]")).to_contain_text("of 20000", timeout=PATIENCE_MS)
    cancel(page)
