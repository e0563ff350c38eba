"""How pages look and read: without scripts, on a phone, in the dark, by keyboard. A story is told already."""

import re
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select

from app.accounts.models import User
from app.generations.models import Generation, Image
from app.jobs.models import Job, JobEvent, JobState
from tests.e2e.site import Site, Visitor
from tests.e2e.story import Story, told_to

CSS = Path(__file__).resolve().parents[2] / "templates" / "static" / "css" / "base.css"


@pytest.fixture
def reader(site: Site) -> tuple[Visitor, Story]:
    visitor = site.visit(logged_in="reader")
    return visitor, told_to(visitor)


def paths_of(story: Story) -> dict[str, str]:
    home = f"/histories/{story.history_id}"
    return {
        "studio": home,
        "teach": f"{home}/teach",
        "timeline": f"{home}/timeline?version=3",
        "compare": f"{home}/compare?left=1&right=2",
        "learning": f"/jobs/{story.running_id}",
        "failed": f"/jobs/{story.failed_id}",
        "learned": f"/jobs/{story.learned_id}",
        "gallery": "/gallery",
        "jobs": "/jobs",
        "histories": "/histories",
        "account": "/account",
        "interface": "/api/docs",
    }


def look_at_all(visitor: Visitor, story: Story, kind: str) -> None:
    for name, path in paths_of(story).items():
        page = visitor.go(path)
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{name} is {wide} px too wide"
        visitor.look(f"{kind}-{name}")


def test_every_page_stands_on_a_wide_screen(reader: tuple[Visitor, Story]) -> None:
    look_at_all(*reader, "wide")


def test_every_page_fits_a_phone_and_its_places_are_under_the_thumb(site: Site) -> None:
    visitor = site.visit(logged_in="phone", viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    story = told_to(visitor)
    look_at_all(visitor, story, "phone")
    page = visitor.go(f"/histories/{story.history_id}")
    box = page.get_by_role("navigation", name="Pages").bounding_box()
    assert box is not None
    assert box["y"] > 700
    page.get_by_role("link", name="Timeline").tap()
    expect(page.get_by_role("heading", name="Timeline", level=1)).to_be_visible()


def test_every_page_can_be_read_in_the_dark(site: Site) -> None:
    visitor = site.visit(logged_in="night", color_scheme="dark")
    look_at_all(visitor, told_to(visitor), "dark")


def test_reading_pages_need_no_scripts(site: Site) -> None:
    visitor = site.visit(logged_in="plain", java_script_enabled=False)
    story = told_to(visitor)
    paths = paths_of(story)
    page = visitor.go(paths["studio"])
    expect(page.get_by_role("heading", name="a photo of <momo> cat at night")).to_be_visible()
    page.locator(".picture a").first.click()
    expect(page.get_by_text("Download PNG with its recipe")).to_be_visible()
    page = visitor.go(paths["timeline"])
    expect(page.locator("#version")).to_contain_text("only partly recognisable")
    page.locator(".version-link").filter(has_text="zigi").click()
    expect(page.locator("#version")).to_contain_text("Version 1")
    page = visitor.go(paths["learning"])
    expect(page.locator(".curve polyline")).to_be_visible()
    expect(page.get_by_text("Step 118 of 200")).to_be_visible()
    page = visitor.go(paths["jobs"])
    expect(page.get_by_text("already knows <bolt>")).to_be_visible()
    page = visitor.go(paths["gallery"])
    expect(page.locator("#wall img").first).to_be_visible()
    page = visitor.go(paths["compare"])
    expect(page.locator(".pair img").first).to_be_visible()


def test_forms_work_without_scripts_too(site: Site) -> None:
    visitor = site.visit(logged_in="plain", java_script_enabled=False)
    story = told_to(visitor)
    page = visitor.go(f"/histories/{story.history_id}")
    page.get_by_label("What shall be in the picture?").fill("a photo of <bolt> robot")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_text("This version does not know <bolt>. It knows <zigi>, <momo>.")).to_be_visible()
    page.get_by_label("What shall be in the picture?").fill("a photo of <momo> cat by the sea")
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_role("heading", name="a photo of <momo> cat by the sea")).to_be_visible()


def test_empty_pages_stand_too(site: Site) -> None:
    visitor = site.visit(logged_in="new")
    for name in ("gallery", "jobs"):
        page = visitor.go(f"/{name}")
        box = page.locator("svg.big").bounding_box()
        assert box is not None
        assert box["width"] < 120
        visitor.look(f"empty-{name}")


def test_a_press_that_may_start_nothing_more_says_why_in_the_form(reader: tuple[Visitor, Story]) -> None:
    visitor, story = reader
    with visitor.site.sessions() as session:
        session.get_one(User, visitor.user_id).quota_bytes = 1
        session.commit()
    page = visitor.go(f"/histories/{story.history_id}")
    prompt = page.get_by_label("What shall be in the picture?")
    prompt.fill("a photo of <momo> cat by the sea")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#ask .problem.general")).to_contain_text("of the 1 byte that you may keep")
    expect(prompt).to_have_value("a photo of <momo> cat by the sea")
    expect(page.locator(".notice")).to_have_count(0)


def test_pictures_are_shown_when_they_are_done_whoever_was_asked_for_first(reader: tuple[Visitor, Story]) -> None:
    visitor, story = reader
    page = visitor.go(f"/histories/{story.history_id}")
    earlier = page.locator(".generation").filter(has_text="cat next to <zigi>")
    later = page.locator(".generation").filter(has_text="in front of bricks")
    expect(earlier.get_by_role("button", name="Cancel")).to_be_visible()
    expect(later.get_by_role("button", name="Cancel")).to_be_visible()
    with visitor.site.sessions() as session:
        own = select(Generation).where(Generation.history_id == story.history_id)
        made = session.scalars(own.where(Generation.prompt.contains("bricks"))).one()
        some = session.scalars(
            select(Image).where(Image.generation_id.in_(own.with_only_columns(Generation.id)))
        ).first()
        assert some is not None
        facts = {"blob_sha256": some.blob_sha256, "width_px": 64, "height_px": 64}
        session.add(Image(generation_id=made.id, position=0, seed=made.seed, **facts))
        job = session.get_one(Job, made.job_id)
        job.state, job.finished_at = JobState.DONE.value, datetime.now(UTC)
        session.add(JobEvent(job_id=job.id, kind="state", data={"state": "done"}))
        session.commit()
    expect(later.locator("a[data-picture] img")).to_have_count(1)
    expect(earlier.get_by_role("button", name="Cancel")).to_be_visible()


def test_deleting_a_picture_asks_first_and_leaves_one_where_one_was(reader: tuple[Visitor, Story]) -> None:
    visitor, story = reader
    page = visitor.go(f"/histories/{story.history_id}")
    shown = page.locator("a[data-picture]").count()
    page.locator("a[data-picture]").first.click()
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("Delete this picture? This cannot be undone")).to_be_visible()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("heading", name="Studio")).to_be_visible()
    expect(page.locator("a[data-picture]")).to_have_count(shown - 1)


def test_a_picture_that_is_gone_is_told_of_and_nothing_is_opened(reader: tuple[Visitor, Story]) -> None:
    visitor, story = reader
    page = visitor.go(f"/histories/{story.history_id}")
    link = page.locator("a[data-picture]").first
    link.evaluate("(link, id) => (link.href = link.href.replace(/[0-9a-f-]{36}$/, id))", str(uuid4()))
    link.click()
    expect(page.locator("#notices .notice")).to_be_visible()
    expect(page.locator("#viewer")).to_be_hidden()
    page.locator("#notices").get_by_role("button", name="Close").click()
    expect(page.locator("#notices .notice")).to_have_count(0)
    assert [one for one in visitor.wrong if "404" in one] == visitor.wrong
    visitor.wrong.clear()


def test_what_is_told_while_a_picture_is_large_is_told_there_and_stays_when_it_closes(
    reader: tuple[Visitor, Story],
) -> None:
    """Over plain HTTP, from another machine, browsers have no clipboard."""
    visitor, story = reader
    page = visitor.go(f"/histories/{story.history_id}")
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.locator("a[data-picture]").first.click()
    viewer = page.locator("#viewer")
    viewer.get_by_text("from a program").click()
    viewer.get_by_role("button", name="Copy").first.click()
    expect(viewer.get_by_text("Select the text and copy it yourself")).to_be_visible()
    viewer.get_by_role("button", name="Close").first.click()
    expect(viewer).to_be_hidden()
    notice = page.get_by_text("Select the text and copy it yourself")
    expect(notice).to_be_visible()
    page.locator("#notices").get_by_role("button", name="Close").click()
    expect(notice).to_be_hidden()


def test_the_light_is_changed_by_a_button_and_stays_so(reader: tuple[Visitor, Story]) -> None:
    visitor, _ = reader
    page = visitor.go("/gallery")
    page.get_by_role("button", name="Change light").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.goto(f"{visitor.site.url}/jobs")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_the_keyboard_reaches_everything_and_shows_where_it_is(reader: tuple[Visitor, Story]) -> None:
    visitor, story = reader
    page = visitor.go(f"/histories/{story.history_id}/timeline")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the page")).to_be_focused()
    seen = [focused(page)]
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement === document.body"):
            break  # once around
        seen.append(focused(page))
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", seen[-1]
    for wanted in ("Studio", "Gallery", "Compare two versions", "The bare base", "Teach another", "Forget"):
        assert any(wanted in one for one in seen), f"{wanted} was not reached: {seen}"
    page.locator(".version-link").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.locator("#version")).to_contain_text("Version 1")


def focused(page: Page) -> str:
    return str(page.evaluate("document.activeElement.innerText || document.activeElement.ariaLabel || ''"))


# --- contrast ------------------------------------------------------------------------------------------------------

COLOURS = {
    name: (light, dark)
    for name, light, dark in re.findall(
        r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", CSS.read_text(encoding="utf-8")
    )
}
READ_ON = [
    (text, ground)
    for text in ("ink", "ink-soft", "rubric", "good", "fair", "poor")
    for ground in ("paper", "leaf", "leaf-raised", "well")
] + [("on-rubric", "rubric"), ("on-rubric", "rubric-strong"), ("rubric", "rubric-wash"), ("poor", "rubric-wash")]
READ_ON += [("good", "good-wash"), ("fair", "fair-wash")]


def luminance(colour: str) -> float:
    """Relative luminance, as WCAG 2.2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_is_told_from_its_ground(scheme: int) -> None:
    for text, ground in READ_ON:
        pair = sorted(luminance(COLOURS[name][scheme]) for name in (text, ground))
        contrast = (pair[1] + 0.05) / (pair[0] + 0.05)
        assert contrast >= 4.5, f"{text} on {ground}: {contrast:.2f}"
