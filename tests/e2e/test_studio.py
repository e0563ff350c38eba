"""The studio's form: one press, one job; concepts where they are meant to be; names as long as they may be."""

import pytest
from playwright.sync_api import expect
from sqlalchemy import func, select

from app.concepts.models import Concept
from app.generations.models import Generation
from app.histories.models import Version
from tests.e2e.site import Site, Visitor, holding
from tests.e2e.story import told_to


@pytest.fixture
def reader(site: Site) -> Visitor:
    return site.visit(logged_in="reader")


def test_two_presses_on_a_slow_line_start_one_job(reader: Visitor) -> None:
    story = told_to(reader)
    page = reader.go(f"/histories/{story.history_id}")
    prompt = page.get_by_label("What shall be in the picture?")
    prompt.fill("a photo of <momo> cat, asked for once")
    with holding(page, "**/generations"):
        prompt.press("Control+Enter")
        expect(page.get_by_role("button", name="Generate")).to_be_disabled()
        prompt.press("Control+Enter")
    expect(page.get_by_role("heading", name="a photo of <momo> cat, asked for once")).to_be_visible()
    expect(page.get_by_role("button", name="Generate")).to_be_enabled()
    prompt.fill("a photo of <momo> cat, asked for afterwards")
    prompt.press("Control+Enter")
    expect(page.get_by_role("heading", name="a photo of <momo> cat, asked for afterwards")).to_be_visible()
    with reader.site.sessions() as session:
        asked = select(func.count()).where(Generation.history_id == story.history_id)
        assert session.scalar(asked.where(Generation.prompt.contains("asked for once"))) == 1


def test_a_concept_is_put_behind_what_a_link_has_filled_in(reader: Visitor) -> None:
    story = told_to(reader)
    page = reader.go(f"/histories/{story.history_id}?prompt=a photo of <momo> cat next to")
    page.locator("[data-concept=zigi]").click()
    prompt = page.get_by_label("What shall be in the picture?")
    expect(prompt).to_have_value("a photo of <momo> cat next to a <zigi> mug")
    prompt.press("Home")
    page.locator("[data-concept=zigi]").click()
    expect(prompt).to_have_value("a <zigi> mug a photo of <momo> cat next to a <zigi> mug")


@pytest.mark.parametrize("name", ["w" * 60, "m" * 18], ids=["as long as may be", "of eighteen letters"])
def test_long_names_fit_narrow_screens(site: Site, name: str) -> None:
    visitor = site.visit(logged_in="narrow", viewport={"width": 320, "height": 700})
    story = told_to(visitor)
    with visitor.site.sessions.begin() as session:
        for concept in session.scalars(select(Concept).where(Concept.history_id == story.history_id)):
            concept.name = name if concept.name == "momo" else concept.name
        for made in session.scalars(select(Generation).where(Generation.history_id == story.history_id)):
            made.prompt = made.prompt.replace("momo", name)
    home = f"/histories/{story.history_id}"
    for path in (
        home,
        f"{home}/teach",
        f"{home}/timeline?version=2",
        f"{home}/compare?left=1&right=2",
        f"/jobs/{story.learned_id}",
        "/jobs",
    ):
        page = visitor.go(path)
        wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wide <= 0, f"{path} is {wide} px too wide"
        visitor.look(f"long-{len(name)}-{path.rpartition('/')[2][:8]}")


def test_a_tree_of_many_branches_leaves_room_for_its_words(site: Site) -> None:
    visitor = site.visit(logged_in="phone", viewport={"width": 390, "height": 844})
    story = told_to(visitor)
    with visitor.site.sessions.begin() as session:
        first = session.scalars(
            select(Version).where(Version.history_id == story.history_id, Version.number == 1)
        ).one()
        for number in range(4, 13):
            facts = {"concept_id": first.concept_id, "delta_sha256": first.delta_sha256, "delta_bytes": 1}
            facts |= {"report": first.report, "seconds": first.seconds, "diagnosis": [], "examination": {}}
            session.add(Version(history_id=story.history_id, parent_id=None, number=number, **facts))
    page = visitor.go(f"/histories/{story.history_id}/timeline")
    row = page.locator(".version-row").first
    rails, whole = row.locator(".rails").bounding_box(), row.bounding_box()
    assert rails is not None
    assert whole is not None
    assert rails["width"] <= 0.36 * whole["width"]
    visitor.look("many branches")
