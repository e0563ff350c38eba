"""Pictures of the pages with the real base, for the README and for whoever changes how a page looks.

`python -m tests.e2e.take_pictures` teaches the three samples to a private instance of its own and writes
docs/studio.png. `--all FOLDER` also takes every page: light, dark, and as wide as a phone. What was learned stays in
`--folder`, so a second run only looks.
"""

import argparse
import io
import sys
import time
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from PIL import Image
from playwright.sync_api import sync_playwright
from sqlalchemy import select

from app.accounts.models import User
from app.accounts.service import make_api_key
from app.concepts.sample_concepts import EMBEDDED, sample_concepts
from app.db import UnitOfWork, make_engine, make_sessions
from app.instance import running
from app.stores import folder_store
from tests.e2e.site import Site, find_chromium

ROOT = Path(__file__).resolve().parents[2]
STUDIO = ROOT / "docs" / "studio.png"
ORDER = ("zigi", "momo", "bolt")
NAME, HISTORY = "ada", "Storybook friends"
# Prompt, seed: the last stands first on the page.
DRAWN = (
    ("a photo of a <bolt> robot at night", 3),
    ("a photo of a <momo> cat on the beach", 11),
    ("a photo of a <zigi> mug next to a <bolt> robot on the grass", 21),
    ("a photo of a <momo> cat next to a <zigi> mug in the snow", 5),
)
WRITTEN = "a photo of a <momo> cat next to a <bolt> robot by the sea"
KINDS: dict[str, dict[str, Any]] = {
    "light": {"viewport": {"width": 1280, "height": 860}},
    "dark": {"viewport": {"width": 1280, "height": 860}, "color_scheme": "dark"},
    "phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Pictures of the pages, taken with the real base.")
    parser.add_argument("--folder", type=Path, default=ROOT / "var" / "pictures", help="where the instance keeps all")
    parser.add_argument("--steps", type=int, default=0, help="of each learning; 0 takes the base's own number")
    parser.add_argument("--all", type=Path, help="take every page into this folder too")
    options = parser.parse_args()
    chromium = find_chromium()
    if chromium is None:
        sys.exit("There is no Chromium on this machine (Debian: apt-get install chromium).")
    with running(options.folder, lambda name, line: say(f"{name:<8}| {line}")) as instance:
        instance.wait_for_worker()
        sessions = make_sessions(make_engine(instance.servers.database_url))
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            store = folder_store(instance.settings.blob_folder)
            site = Site(instance.address, instance.settings, sessions, store, browser, options.all or STUDIO.parent)
            user_id = user_called(site, NAME)
            history = Teller(site, user_id).tell(options.steps)
            take_studio(site, user_id, history)
            if options.all:
                take_all(site, user_id, history)
            for wrong in site.close_visitors():
                say(f"The browser complained: {wrong}")
            browser.close()


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def user_called(site: Site, name: str) -> UUID:
    with site.sessions() as session:
        user = session.scalar(select(User).where(User.name == name))
        if user is None:
            user = User(name=name, password_hash="-", is_admin=True)  # noqa: S106
            session.add(user)
            session.commit()
        return user.id


class Teller:
    """Does what a person would, over REST; what is there already is not done again."""

    def __init__(self, site: Site, user_id: UUID):
        work = UnitOfWork(site.sessions, lambda *_args, **_kwargs: None)
        _, key = make_api_key(work, user_id, "pictures")
        self.client = httpx.Client(
            base_url=f"{site.url}/api/v1", headers={"Authorization": f"Bearer {key}"}, timeout=60
        )

    def get(self, path: str, **query: Any) -> Any:
        answer = self.client.get(path, params=query)
        answer.raise_for_status()
        return answer.json()

    def wait_for(self, job_id: str) -> None:
        """Its worker may take a long while; the machine has other things to do."""
        while (job := self.get(f"/jobs/{job_id}"))["state"] in ("queued", "running"):
            time.sleep(1)
        if job["state"] != "done":
            sys.exit(f"A job ended as {job['state']}: {job['error']}")

    def tell(self, steps: int) -> str:
        """The history in which all samples are known and something was drawn."""
        found = [one for one in self.get("/histories")["items"] if one["name"] == HISTORY]
        history = found[0] if found else self.client.post("/histories", json={"name": HISTORY}).json()
        home = f"/histories/{history['id']}"
        known = {one["concept"] for one in self.get(f"{home}/versions")["items"]}
        samples = {sample.name: sample for sample in sample_concepts(EMBEDDED)}
        for name in ORDER:
            if name not in known:
                sample = samples[name]
                files = [("pictures", (path.name, path.read_bytes(), "image/png")) for path in sample.pictures]
                data = {"name": name, "class_noun": sample.class_noun}
                data |= {"settings": f'{{"steps": {steps}}}'} if steps else {}
                answer = self.client.post(f"{home}/concepts", data=data, files=files)
                answer.raise_for_status()
                self.wait_for(answer.json()["job"]["id"])
        drawn = {one["prompt"] for one in self.get(f"{home}/generations", limit=100)["items"]}
        for prompt, seed in DRAWN:
            if prompt not in drawn:
                answer = self.client.post(f"{home}/generations", json={"prompt": prompt, "seed": seed, "count": 4})
                answer.raise_for_status()
                self.wait_for(answer.json()["job"]["id"])
        return str(history["id"])


def take_studio(site: Site, user_id: UUID, history: str) -> None:
    """docs/studio.png: as large as a laptop's window, in as many colours as fit 400 KB."""
    visitor = site.visit(as_user=user_id, viewport={"width": 1280, "height": 1010}, device_scale_factor=1.5)
    page = visitor.go(f"/histories/{history}")
    page.get_by_label("What shall be in the picture?").fill(WRITTEN)
    page.locator("h1").click()
    visitor.settle()
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    shot.quantize(256, dither=Image.Dither.NONE).save(STUDIO, optimize=True)
    say(f"{STUDIO}: {STUDIO.stat().st_size / 1000:.0f} kB")


def take_all(site: Site, user_id: UUID, history: str) -> None:
    home = f"/histories/{history}"
    for kind, options in KINDS.items():
        visitor = site.visit(as_user=user_id, **options)
        for name, path in {
            "studio": home,
            "teach": f"{home}/teach",
            "timeline": f"{home}/timeline",
            "earlier": f"{home}/timeline?version=1",
            "compare": f"{home}/compare?left=2&right=3",
            "gallery": "/gallery",
            "jobs": "/jobs",
            "histories": "/histories",
            "account": "/account",
            "users": "/users",
            "server": "/server",
            "interface": "/api/docs",
        }.items():
            visitor.go(path)
            visitor.look(f"{kind}-{name}")


if __name__ == "__main__":
    main()
