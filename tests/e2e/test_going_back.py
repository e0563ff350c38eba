"""The core of it: two concepts in one picture, back to before the second, and forward again."""

import io
from pathlib import Path

import httpx
import pytest
from PIL import Image
from playwright.sync_api import expect

from app.accounts.service import make_api_key
from app.db import UnitOfWork
from tests.e2e.site import PATIENCE_MS, Site, Visitor

SAMPLES = Path(__file__).resolve().parents[2] / "storybook" / "samples"


@pytest.fixture
def ada(working_site: Site) -> Visitor:
    return working_site.visit(logged_in="ada")


def teach_over_rest(visitor: Visitor, history: str, *names: str) -> None:
    """Learn concepts the short way, one after another."""
    assert visitor.user_id is not None
    _, key = make_api_key(UnitOfWork(visitor.site.sessions, lambda *_args, **_kwargs: None), visitor.user_id, "e2e")
    with httpx.Client(base_url=f"{visitor.site.url}/api/v1", headers={"Authorization": f"Bearer {key}"}) as client:
        jobs = []
        for name in names:
            files = [
                ("pictures", (path.name, path.read_bytes())) for path in sorted((SAMPLES / name).glob("*.png"))[:3]
            ]
            data = {"name": name, "class_noun": "thing", "settings": '{"steps": 3, "batch": 2}'}
            answer = client.post(f"/histories/{history}/concepts", data=data, files=files)
            assert answer.status_code == 202, answer.text
            jobs.append(answer.json()["job"]["id"])
        for job in jobs:
            with client.stream("GET", f"/jobs/{job}/events", timeout=PATIENCE_MS / 1000) as events:
                events.read()
            assert client.get(f"/jobs/{job}").json()["state"] == "done"


def test_two_concepts_in_a_picture_then_back_then_forward_again(ada: Visitor) -> None:
    history = ada.history()
    teach_over_rest(ada, history, "zigi", "momo")
    page = ada.go(f"/histories/{history}")
    prompt = page.get_by_label("What shall be in the picture?")

    prompt.press_sequentially("a photo of a <zi")
    expect(page.get_by_role("listbox", name="Concepts").get_by_role("option")).to_have_count(1)
    prompt.press("Enter")
    expect(prompt).to_have_value("a photo of a <zigi> thing")
    prompt.press_sequentially(" next to ")
    page.get_by_role("button", name="momo").click()
    expect(prompt).to_have_value("a photo of a <zigi> thing next to a <momo> thing")
    page.get_by_label("Pictures", exact=True).fill("2")
    page.get_by_text("Size, steps, guidance, seed").click()
    page.get_by_label("Steps", exact=True).fill("4")
    page.get_by_label("Seed", exact=True).fill("7")
    prompt.press("Control+Enter")
    card = page.locator(".generation").first
    expect(card.locator("a[data-picture] img")).to_have_count(2, timeout=PATIENCE_MS)
    ada.look("studio")

    card.locator("a[data-picture]").first.click()
    viewer = page.get_by_role("dialog")
    expect(viewer.get_by_text("Seed", exact=True)).to_be_visible()
    expect(viewer.locator("dd").filter(has_text="7").first).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(viewer.locator("img")).to_have_attribute("alt", "a photo of a <zigi> thing next to a <momo> thing (seed 8)")
    with page.expect_download() as download:
        viewer.get_by_role("link", name="Download").click()
    saved = Image.open(io.BytesIO(Path(download.value.path()).read_bytes()))
    assert "palimpsest" in saved.text  # type: ignore[attr-defined]
    assert "parameters" in saved.text  # type: ignore[attr-defined]
    page.keyboard.press("Escape")
    expect(viewer).to_be_hidden()

    page.get_by_role("link", name="Timeline").click()
    page.locator(".version-link").filter(has_text="zigi").click()
    expect(page.locator("#version")).to_contain_text("Prompts will no longer know <momo>")
    page.go_back()
    expect(page.locator("#version")).to_contain_text("New pictures and learnings begin here")
    page.go_forward()
    expect(page.locator("#version")).to_contain_text("Prompts will no longer know <momo>")
    ada.look("timeline")
    page.get_by_role("button", name="Use version 1").click()
    expect(page.get_by_text("Version 1 is in use now.")).to_be_visible()

    page.get_by_role("link", name="Studio").click()
    expect(page.get_by_role("button", name="momo")).to_be_disabled()
    prompt.fill("a photo of <momo> thing")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#prompt-problem")).to_have_text("This version does not know <momo>. It knows <zigi>.")
    expect(prompt).to_have_value("a photo of <momo> thing")
    prompt.fill("a photo of <zigi> thing")
    page.get_by_label("Pictures", exact=True).fill("1")
    page.get_by_role("button", name="Generate").click()
    expect(page.locator("#prompt-problem")).to_have_count(0)
    expect(card.locator("a[data-picture] img")).to_have_count(1, timeout=PATIENCE_MS)
    expect(card).to_contain_text("version 1")

    page.get_by_role("link", name="Timeline").click()
    page.get_by_text("What was in use, and when").click()
    page.get_by_role("button", name="Undo the last").click()
    expect(page.locator(".version-row").filter(has_text="in use").locator(".version-title")).to_contain_text("momo")

    page.get_by_role("link", name="Gallery").click()
    expect(page.locator("#wall .picture")).to_have_count(3)
    page.locator("#wall .picture a").first.focus()
    page.keyboard.press("x")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    expect(page.locator("[data-count]")).to_have_text("2 chosen")
    ada.look("gallery")
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete them").click()
    expect(page.locator("#wall .picture")).to_have_count(1)


def test_pictures_that_wait_can_be_cancelled(ada: Visitor) -> None:
    history = ada.history()
    page = ada.go(f"/histories/{history}")
    page.get_by_label("What shall be in the picture?").fill("a photo of a dog")
    page.get_by_text("Size, steps, guidance, seed").click()
    page.get_by_label("Steps", exact=True).fill("200")
    page.get_by_label("Pictures", exact=True).fill("16")
    page.get_by_role("button", name="Generate").click()
    card = page.locator(".generation").first
    card.get_by_role("button", name="Cancel").click()
    expect(page.locator(".generation").first.get_by_role("button", name="Try again")).to_be_visible(timeout=PATIENCE_MS)
