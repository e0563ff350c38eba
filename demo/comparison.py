"""The same learnings by the library alone, to be compared with those of the service."""

from dataclasses import replace
from pathlib import Path

from cns.history_folder import HistoryFolder
from cns.teaching import OnProgress, no_progress, teach
from storybook.demo import Demo


def learn_with_library(demo: Demo, folder: Path, on_progress: OnProgress = no_progress) -> list[str]:
    """Learn every lesson, one on top of the other, in a new history in `folder`; returns the digests of their deltas.

    Nothing is examined: an examination looks at what was learned and changes nothing.
    """
    history = HistoryFolder.create(folder, "the demo's base", demo.base.id)
    room = replace(demo.room, judge=None, likeness=None)

    def report(name: str, stage: str, done: int, total: int) -> None:
        if stage == "learning":
            on_progress(f"the library alone: {name}", done, total)

    digests = []
    for lesson in demo.lessons:
        version = teach(history, lesson, room, lambda *told, name=lesson.name: report(name, *told))
        digests.append(version.delta)
    return digests
