"""Regions in the studio: boxes drawn by mouse and by keyboard, given their concepts, sent, shown and taken over."""

import pytest
from playwright.sync_api import Locator, Page, expect
from sqlalchemy import select

from app.accounts.models import User
from app.generations.models import Generation
from tests.e2e.site import Site, Visitor
from tests.e2e.story import Story, tell

EDGES = ("left", "top", "right", "bottom")


@pytest.fixture
def artist(site: Site) -> tuple[Visitor, Story]:
    visitor = site.visit(logged_in="artist")
    with visitor.site.sessions() as session:
        return visitor, tell(session, visitor.site.store, session.get_one(User, visitor.user_id))


def unfold(page: Page) -> Locator:
    """The canvas, once its fold is open."""
    page.get_by_text("Regions: what goes where").click()
    canvas = page.locator("[data-canvas]")
    expect(canvas).to_be_visible()
    return canvas


def draw(page: Page, canvas: Locator, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Drag the mouse over the canvas; points in shares of its width and height."""
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    (x, y), (to_x, to_y) = (
        (box["x"] + box["width"] * across, box["y"] + box["height"] * down) for across, down in (start, end)
    )
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move((x + to_x) / 2, (y + to_y) / 2)
    page.mouse.move(to_x, to_y)
    page.mouse.up()


def edges(page: Page, place: int) -> list[float]:
    return [float(page.locator(f"[id='regions.{place}.{edge}']").input_value()) for edge in EDGES]


def words(page: Page, place: int) -> Locator:
    return page.locator(f"[id='regions.{place}.prompt']")


def latest(visitor: Visitor, story: Story) -> Generation:
    with visitor.site.sessions() as session:
        own = select(Generation).where(Generation.history_id == story.history_id)
        return session.scalars(own.order_by(Generation.created_at.desc()).limit(1)).one()


def test_boxes_are_drawn_given_a_concept_each_and_kept_with_the_picture(artist: tuple[Visitor, Story]) -> None:
    visitor, story = artist
    page = visitor.go(f"/histories/{story.history_id}")
    prompt = page.get_by_label("What shall be in the picture?")
    prompt.fill("a photo of a <momo> cat next to a <zigi> mug on the grass")
    canvas = unfold(page)
    expect(page.locator("[data-region]:visible")).to_have_count(0)
    draw(page, canvas, (0.05, 0.1), (0.45, 0.9))
    assert edges(page, 0) == pytest.approx([5, 10, 45, 90], abs=1)
    expect(words(page, 0)).to_be_focused()
    page.locator("[data-region-concept=momo]").click()
    expect(words(page, 0)).to_have_value("a photo of a <momo> cat next to a mug on the grass")
    draw(page, canvas, (0.95, 0.9), (0.55, 0.1))  # from the other corner
    assert edges(page, 1) == pytest.approx([55, 10, 95, 90], abs=1)
    page.locator("[data-region-concept=zigi]").click()  # it goes into the box that was drawn last
    expect(words(page, 1)).to_have_value("a photo of a cat next to a <zigi> mug on the grass")
    expect(page.locator("[data-region]:visible")).to_have_count(2)
    visitor.look("regions-drawn")
    page.get_by_role("button", name="Generate").click()
    card = page.locator(".generation").filter(has_text="on the grass").first
    expect(card).to_be_visible()
    kept = latest(visitor, story).regions
    assert [region["prompt"] for region in kept] == [
        "a photo of a <momo> cat next to a mug on the grass",
        "a photo of a cat next to a <zigi> mug on the grass",
    ]
    assert kept[1]["left"] == pytest.approx(0.55, abs=0.01)
    expect(words(page, 0)).to_have_value(kept[0]["prompt"])  # the form stays as it is for the next try
    expect(page.locator("[data-box]")).to_have_count(2)


def test_boxes_are_moved_stretched_and_taken_away(artist: tuple[Visitor, Story]) -> None:
    visitor, story = artist
    page = visitor.go(f"/histories/{story.history_id}")
    canvas = unfold(page)
    for _ in range(2):
        page.get_by_role("button", name="Add a box").click()
    assert [edges(page, place) for place in range(2)] == [[0, 0, 50, 100], [50, 0, 100, 100]]
    box = page.locator("[data-box='0']")
    box.focus()
    box.press("ArrowRight")
    box.press("Shift+ArrowUp")
    assert edges(page, 0) == [2, 0, 52, 98]
    draw(page, canvas, (0.25, 0.5), (0.35, 0.5))  # by its middle
    assert edges(page, 0) == pytest.approx([12, 0, 62, 98], abs=1)
    draw(page, canvas, (0.61, 0.97), (0.41, 0.77))  # by its corner: the chosen box is above the others
    assert edges(page, 0) == pytest.approx([12, 0, 42, 78], abs=2)
    draw(page, canvas, (0.45, 0.9), (0.46, 0.905))  # a slip makes no box
    expect(page.locator("[data-box]")).to_have_count(2)
    words(page, 1).fill("a red mug")
    box.focus()
    box.press("Delete")
    expect(page.locator("[data-box]")).to_have_count(1)
    assert edges(page, 0) == [50, 0, 100, 100]
    expect(words(page, 0)).to_have_value("a red mug")
    page.get_by_role("button", name="Remove region 1").click()
    expect(page.locator("[data-box]")).to_have_count(0)


def test_a_box_without_words_says_so_in_its_place_and_stays(artist: tuple[Visitor, Story]) -> None:
    visitor, story = artist
    page = visitor.go(f"/histories/{story.history_id}")
    page.get_by_label("What shall be in the picture?").fill("a photo of a <momo> cat")
    unfold(page)
    page.get_by_role("button", name="Add a box").click()
    page.get_by_role("button", name="Generate").click()
    expect(page.get_by_text("What shall be in region 1?")).to_be_visible()
    expect(page.locator("[data-box]")).to_have_count(1)
    page.get_by_role("button", name="Remove region 1").click()
    expect(page.get_by_text("What shall be in region 1?")).to_have_count(0)
    page.get_by_role("button", name="Generate").click()
    expect(page.locator(".generation").filter(has_text="a photo of a <momo> cat").first).to_be_visible()


def test_a_finger_draws_boxes_on_a_phone(site: Site) -> None:
    visitor = site.visit(logged_in="thumb", viewport={"width": 390, "height": 800}, has_touch=True)
    with visitor.site.sessions() as session:
        story = tell(session, visitor.site.store, session.get_one(User, visitor.user_id))
    page = visitor.go(f"/histories/{story.history_id}")
    canvas = unfold(page)
    draw(page, canvas, (0.1, 0.1), (0.6, 0.6))
    assert edges(page, 0) == pytest.approx([10, 10, 60, 60], abs=1)
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wide <= 0
    visitor.look("phone-regions")
