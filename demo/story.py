"""The demo over REST: concept after concept, pictures at every version, back to an earlier one and forward again."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from cns.history import VersionRecord
from cns.teaching import Lesson, OnProgress, no_progress
from demo.rest import Program, Waited
from storybook.demo import ROLLED_BACK_TO, Drawing
from storybook.demo_plan import Panel, Settings

Files = Mapping[tuple[int, int], bytes]
"""(place of the panel, number of the seed) -> the PNG as it was downloaded, with its recipe inside."""


@dataclass(frozen=True)
class Plan:
    """What is to be done. lessons, in order; pictures: name of a lesson -> its files; changes: of its settings."""

    lessons: tuple[Lesson, ...]
    pictures: Mapping[str, Sequence[Path]]
    panels: tuple[Panel, ...]
    settings: Settings
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def nouns(self) -> dict[str, str]:
        return {lesson.name: lesson.class_noun for lesson in self.lessons}


@dataclass(frozen=True)
class Told:
    """What happened. files: the pictures of every version, the untouched base's first. again: those of the version
    that was rolled back to; base_again: the base's, at the very end. heads: where head was after each move of it.
    """

    base_id: str
    versions: tuple[VersionRecord, ...]
    delta_files: tuple[str, ...]  # SHA-256 of each version's delta as it was downloaded
    files: tuple[Files, ...]
    again: Files
    base_again: Files
    heads: tuple[int, ...]
    waits: tuple[Waited, ...]

    @property
    def drawings(self) -> list[Drawing]:
        return [{key: open_png(file) for key, file in files.items()} for files in self.files]


def open_png(file: bytes) -> Image.Image:
    with Image.open(BytesIO(file)) as picture:
        return picture.convert("RGB")


def tell(program: Program, plan: Plan, on_progress: OnProgress = no_progress) -> Told:
    """Do all of it on a new history."""
    storyteller = Storyteller(program, plan, program.begin_history("The demo"), on_progress)
    files = [storyteller.draw(0, "drawing with the untouched base")]
    heads = []
    for number, lesson in enumerate(plan.lessons, start=1):
        heads.append(storyteller.learn(lesson))
        files.append(storyteller.draw(None, f"drawing with version {number}"))
    heads.append(storyteller.move_head(ROLLED_BACK_TO))
    again = storyteller.draw(None, f"drawing with version {ROLLED_BACK_TO} again")
    heads.append(storyteller.move_head(len(plan.lessons)))
    base_again = storyteller.draw(0, "drawing with the untouched base again", kinds=("generic",))
    versions = program.versions(storyteller.history_id)
    return Told(
        base_id=storyteller.base_id,
        versions=tuple(to_record(version) for version in versions),
        delta_files=tuple(storyteller.digest_of_delta(version["number"]) for version in versions),
        files=tuple(files),
        again=again,
        base_again=base_again,
        heads=tuple(heads),
        waits=tuple(storyteller.waits),
    )


class Storyteller:
    """One history on its way through the demo."""

    def __init__(self, program: Program, plan: Plan, history: Any, on_progress: OnProgress):
        self.program, self.plan, self.on_progress = program, plan, on_progress
        self.history_id: str = history["id"]
        self.base_id: str = history["base_id"]
        self.waits: list[Waited] = []

    def learn(self, lesson: Lesson) -> int:
        """Teach the head a concept; returns where head is then."""
        asked = time.monotonic()
        pictures = self.plan.pictures[lesson.name]
        job = self.program.teach(self.history_id, lesson.name, lesson.class_noun, pictures, self.plan.changes)
        job = self.program.watch(job["id"], partial(self._tell_of, lesson.name))
        self._note("learning", job["version"], lesson.name, job, asked)
        return self._head()

    def _tell_of(self, name: str, stage: str, done: int, total: int) -> None:
        self.on_progress(f"{name}: {stage}", done, total)

    def draw(self, version: int | None, stage: str, kinds: Sequence[str] = ("concept", "two", "generic")) -> Files:
        """Every panel that the version, or head, has the concepts for.

        One request after another: pictures of requests that wait at the same time share batches, and those of one
        picture may then differ in the last bit of a colour from those of another time.
        """
        known = self._head() if version is None else version
        learned = [lesson.name for lesson in self.plan.lessons[:known]]
        prompts = {
            place: prompt
            for place, panel in enumerate(self.plan.panels)
            if panel.kind in kinds and (prompt := panel.prompt_for(self.plan.nouns, learned)) is not None
        }
        files: dict[tuple[int, int], bytes] = {}
        for done, (place, prompt) in enumerate(prompts.items()):
            self.on_progress(stage, done, len(prompts))
            for number, file in enumerate(self._generate(version, prompt, self.plan.panels[place].seed)):
                files[place, number] = file
        self.on_progress(stage, len(prompts), len(prompts))
        return files

    def _generate(self, version: int | None, prompt: str, seed: int) -> list[bytes]:
        asked = time.monotonic()
        settings = self.plan.settings
        wanted = {
            "prompt": prompt,
            "seed": seed,
            "count": settings.seeds,
            "steps": settings.steps,
            "guidance": settings.guidance,
        }
        if version is not None:
            wanted["version"] = version
        generation = self.program.generate(self.history_id, **wanted)
        files = [self.program.fetch(image["url"]) for image in generation["images"]]
        self._note("pictures", generation["version"], prompt, generation["job"], asked)
        return files

    def move_head(self, version: int) -> int:
        """Roll back, or go forward; returns where head is then."""
        return int(self.program.move_head(self.history_id, version)["head"])

    def digest_of_delta(self, version: int) -> str:
        path = f"/api/v1/histories/{self.history_id}/versions/{version}/delta"
        return hashlib.sha256(self.program.fetch(path)).hexdigest()

    def _head(self) -> int:
        return int(self.program.get(f"/histories/{self.history_id}")["head"])

    def _note(self, kind: str, version: int, about: str, job: Any, asked: float) -> None:
        moments = ("created_at", "started_at", "finished_at")
        created, started, finished = (datetime.fromisoformat(job[moment]) for moment in moments)
        waited = Waited(
            kind,
            version,
            about,
            queued_s=round((started - created).total_seconds(), 3),
            worked_s=round((finished - started).total_seconds(), 3),
            answered_s=round(time.monotonic() - asked, 3),
        )
        self.waits.append(waited)


def to_record(version: Mapping[str, Any]) -> VersionRecord:
    """A version of the service in the shape in which the library keeps its own."""
    return VersionRecord(
        number=version["number"],
        parent=version["parent"],
        concept=version["concept"],
        class_noun=version["class_noun"],
        delta=version["delta_sha256"],
        delta_bytes=version["delta_bytes"],
        created_at=version["created_at"],
        seconds=version["seconds"],
        report=version["report"],
        diagnosis=tuple(version["diagnosis"]),
        examination=version["examination"],
    )
