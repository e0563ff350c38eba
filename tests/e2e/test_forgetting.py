"""A concept is forgotten and erased from the timeline on; a version that was held back is used all the same."""

import re

import pytest
from playwright.sync_api import Page, expect

from app.accounts.models import User
from tests.e2e.site import PATIENCE_MS, Site, Visitor
from tests.e2e.story import Story, tell_of_damage
from tests.e2e.test_going_back import teach_over_rest

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}


def test_a_concept_is_forgotten_from_the_timeline_and_its_erasure_is_proved(working_site: Site) -> None:
    ada = working_site.visit(logged_in="ada")
    history = ada.history()
    teach_over_rest(ada, history, "zigi", "momo")
    page = ada.go(f"/histories/{history}/timeline")
    page.locator(".knows li").filter(has_text="zigi").get_by_role("link", name="Forget").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Forget <zigi>, a thing")
    expect(page.get_by_role("radio", name="Fast")).to_be_checked()
    button = page.locator(".forget").get_by_role("button")
    expect(button).to_have_accessible_name("Forget zigi")
    page.get_by_role("checkbox", name="Erase it as well").check()
    expect(button).to_have_accessible_name("Forget zigi and erase it")
    ada.look("forget-choice")
    button.click()

    expect(page.get_by_role("heading", name="Proof of erasure")).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_role("heading", level=1)).to_have_text("Forgot <zigi>")
    expect(page.get_by_text(re.compile(r"^Versions 1, 2 are gone, and with them \d+ files"))).to_be_visible()
    page.get_by_text("What was removed, by the SHA-256 of its bytes").click()
    expect(page.get_by_text("the delta of version 1")).to_be_visible()
    ada.look("forgotten")

    page.get_by_role("link", name="To the timeline").click()
    expect(page.locator(".version-title")).to_have_text(["3 <momo> in use", "The bare base"])
    ada.look("timeline-forgotten")

    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_text("What was forgotten, and how").click()
    page.get_by_text("When a learning does damage").click()
    check_fits(page)
    ada.look("phone-timeline-forgotten")
    page.locator(".moves").get_by_role("link", name="zigi").click()
    page.get_by_text("What was removed, by the SHA-256 of its bytes").click()
    check_fits(page)
    ada.look("phone-forgotten")
    page.goto(f"{working_site.url}/histories/{history}/forget?concept=momo")
    check_fits(page)
    ada.look("phone-forget-choice")


@pytest.fixture(params=[{}, PHONE], ids=["wide", "phone"])
def careful(request: pytest.FixtureRequest, site: Site) -> tuple[Visitor, Story]:
    visitor = site.visit(logged_in="careful", **request.param)
    with site.sessions() as session:
        return visitor, tell_of_damage(session, site.store, session.get_one(User, visitor.user_id))


def check_fits(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0


def test_a_version_that_was_held_back_says_why_and_is_used_all_the_same(careful: tuple[Visitor, Story]) -> None:
    visitor, story = careful
    kind = "phone" if visitor.page.viewport_size == PHONE["viewport"] else "wide"
    page = visitor.go(f"/jobs/{story.learned_id}")
    expect(page.get_by_role("note")).to_contain_text("<zigi> is mostly forgotten")
    check_fits(page)
    visitor.look(f"{kind}-held-back-learning")

    page.get_by_role("link", name="What was learned").click()
    expect(page.locator(".version-row").filter(has_text="momo")).to_contain_text("held back")
    expect(page.get_by_role("note")).to_contain_text("It stands beside version 1")
    expect(page.get_by_role("button", name="Learn it again so, on version 1")).to_be_visible()
    check_fits(page)
    visitor.look(f"{kind}-held-back-timeline")

    page.get_by_role("button", name="Use version 2 all the same").click()
    expect(page.get_by_text("Version 2 is in use now.")).to_be_visible()
    expect(page.get_by_role("note")).to_contain_text("is in use because you chose it")
    check_fits(page)
    visitor.look(f"{kind}-held-back-in-use")
    page.get_by_role("button", name="Undo").first.click()
    expect(page.locator(".version-row").filter(has_text="in use")).to_contain_text("zigi")
