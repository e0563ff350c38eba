"""A user of the service in a test: their key, their history, and how they ask."""

import json
from dataclasses import dataclass
from io import BytesIO
from typing import Any
from uuid import UUID

import httpx
import numpy as np
from fastapi.testclient import TestClient
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from app.accounts.service import make_api_key
from app.db import Sessions, UnitOfWork
from tests.app import make


@dataclass(frozen=True)
class Person:
    """Asks with an API key, so no cookie is in play."""

    client: TestClient
    id: UUID
    name: str
    key: str
    history_id: UUID

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request under /api/v1."""
        headers = {"Authorization": f"Bearer {self.key}", **options.pop("headers", {})}
        return self.client.request(method, f"/api/v1{path}", headers=headers, **options)

    def teach(self, name: str, pictures: int = 3, **options: Any) -> httpx.Response:
        """Start a learning from random pictures."""
        files = [("pictures", (f"{name}-{i}.png", png(seed=hash_of(name) + i), "image/png")) for i in range(pictures)]
        data = {"name": name, "class_noun": "dog", **options.pop("data", {})}
        return self.ask("POST", f"/histories/{self.history_id}/concepts", data=data, files=files, **options)


def make_person(client: TestClient, sessions: Sessions, name: str) -> Person:
    with sessions() as session:
        user = make.user(session, name)
        history = make.history(session, user)
    _, key = make_api_key(UnitOfWork(sessions, lambda *_args, **_kwargs: None), user.id, "tests")
    return Person(client, user.id, name, key, history.id)


def hash_of(name: str) -> int:
    return sum(map(ord, name)) * 100


def png(seed: int = 0, size: tuple[int, int] = (80, 72), format_: str = "PNG", **options: Any) -> bytes:
    """A picture file of seeded noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).save(file, format_, **options)
    return file.getvalue()


def painted(seed: int = 0, prompt: str = "a mug") -> bytes:
    """A picture as a worker makes it, with its recipe inside."""
    chunks = PngInfo()
    chunks.add_text("parameters", f"{prompt}\nSteps: 20, Seed: {seed}")
    chunks.add_text("palimpsest", json.dumps({"prompt": prompt, "seed": seed}))
    return png(seed, pnginfo=chunks)
