"""Where the keyboard is: never under a bar, and never lost when something is pressed, opened or told."""

import pytest
from playwright.sync_api import Page, expect

from tests.e2e.site import Site, Visitor, holding
from tests.e2e.story import Story, told_to

# Whether what has the focus lies wholly under a bar that stays in its place, with the words on it.
COVERED = """() => {
    const { top, bottom, left, right } = document.activeElement.getBoundingClientRect();
    const over = document.elementFromPoint((left + right) / 2, (top + bottom) / 2);
    for (const bar of document.querySelectorAll(".masthead, .places")) {
        const place = bar.getBoundingClientRect();
        const covers = place.top <= top && place.bottom >= bottom && place.left <= left && place.right >= right;
        if (covers && !bar.contains(document.activeElement) && bar.contains(over)) {
            return document.activeElement.innerText || document.activeElement.name || document.activeElement.tagName;
        }
    }
    return null;
}"""


@pytest.fixture
def reader(site: Site) -> tuple[Visitor, Story]:
    visitor = site.visit(logged_in="reader")
    return visitor, told_to(visitor)


def covered_on_the_way(page: Page, key: str, most: int = 160) -> list[str]:
    """What lay under a bar when it had the focus, of all that the key leads to."""
    covered = []
    for _ in range(most):
        page.keyboard.press(key)
        if page.evaluate("document.activeElement === document.body"):
            break
        if (what := page.evaluate(COVERED)) is not None:
            covered.append(what)
    return covered


@pytest.mark.parametrize("size", [(390, 844), (320, 256)], ids=["a telephone", "enlarged four times"])
def test_what_has_the_focus_lies_under_no_bar(site: Site, size: tuple[int, int]) -> None:
    visitor = site.visit(logged_in="keys", viewport={"width": size[0], "height": size[1]})
    story = told_to(visitor)
    page = visitor.go(f"/histories/{story.history_id}")
    visitor.settle()
    assert covered_on_the_way(page, "Tab") == []
    assert covered_on_the_way(page, "Shift+Tab") == []
    visitor.look(f"low-{size[1]}", full=False)


def test_generate_keeps_the_focus_when_it_is_pressed(reader: tuple[Visitor, Story]) -> None:
    visitor, story = reader
    page = visitor.go(f"/histories/{story.history_id}")
    page.get_by_label("What shall be in the picture?").fill("a photo of <momo> cat at noon")
    button = page.get_by_role("button", name="Generate")
    with holding(page, "**/generations"):
        button.press("Enter")
        expect(button).to_be_disabled()
        page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    expect(page.get_by_role("heading", name="a photo of <momo> cat at noon")).to_be_visible()
    expect(button).to_be_focused()


def test_a_picture_opens_with_the_focus_on_close_and_keeps_it_somewhere_at_the_ends(
    reader: tuple[Visitor, Story],
) -> None:
    visitor, story = reader
    page = visitor.go(f"/histories/{story.history_id}")
    page.locator("a[data-picture]").first.press("Enter")
    viewer = page.locator("#viewer")
    expect(viewer.get_by_role("button", name="Close")).to_be_focused()
    on, back = (viewer.get_by_role("button", name=name) for name in ("The next picture", "The picture before"))
    on.press("Enter")
    expect(back).to_be_enabled()
    back.press("Enter")
    expect(back).to_be_disabled()
    expect(viewer.get_by_role("button", name="Close")).to_be_focused()


def test_what_is_said_to_those_who_listen_takes_the_focus_from_nothing(reader: tuple[Visitor, Story]) -> None:
    visitor, story = reader
    page = visitor.go(f"/histories/{story.history_id}")
    page.evaluate("import('/static/js/page.js').then((page) => page.notify('Something is told.'))")
    close = page.locator("#notices").get_by_role("button", name="Close")
    close.focus()
    page.evaluate("import('/static/js/page.js').then((page) => page.announce('Something is said.'))")
    expect(page.locator("#said")).to_have_text("Something is said.")
    expect(close).to_be_focused()


def test_what_stands_there_already_is_not_told_twice(reader: tuple[Visitor, Story]) -> None:
    visitor, story = reader
    page = visitor.go(f"/histories/{story.history_id}")
    for _ in range(3):
        page.evaluate("import('/static/js/page.js').then((page) => page.notify('Something is told.'))")
    expect(page.locator(".notice")).to_have_count(1)


def test_skipping_to_the_page_loads_nothing_anew(reader: tuple[Visitor, Story]) -> None:
    visitor, story = reader
    page = visitor.go(f"/histories/{story.history_id}/timeline")
    parts: list[str] = []
    page.on("request", lambda request: parts.append(request.url) if request.headers.get("hx-request") else None)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.locator(".version-link").filter(has_text="zigi").click()
    expect(page.locator("#version")).to_contain_text("Version 1")
    assert len(parts) == 1
    page.go_back()
    expect(page.locator("#version")).to_contain_text("Version 2")
