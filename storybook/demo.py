"""Three concepts one after another, and back again: `python -m storybook.demo --out demo-out`.

Learns the samples from their files into a history in a fresh folder, draws the same panels at every version, goes back
to version 1 and compares bytes, and writes contact-sheet.png and report.json. Exits 0 only when its own checks hold.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

# Set before the libraries come in: while they are imported they warn of picture tools that are not used here.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from PIL import Image
from rich.console import Console
from torch import Tensor

from cns.base_model import BaseModel, load_base
from cns.captions import RetrievalCaptioner
from cns.compose import Version, compose
from cns.denoise import generate, to_pictures
from cns.errors import CnsError
from cns.examination import ExaminationSettings
from cns.history_folder import HistoryFolder, as_json, write_atomically
from cns.judge import Judge, load_judge
from cns.metrics import clip_score, drift
from cns.own_settings import load_generation_settings, load_learning_settings, load_thresholds
from cns.pictures import read_picture
from cns.scoring import score_pictures
from cns.settings import LearningSettings
from cns.teaching import Classroom, Lesson, OnProgress, no_progress, teach
from cns.terminal import progress_bar
from storybook import MODEL_FOLDER, SAMPLES_FOLDER
from storybook.demo_plan import KINDS, Kind, Panel, Settings, plan_panels, plan_requests
from storybook.demo_report import Check, build_report, check_report
from storybook.demo_sheet import SheetColumn, SheetRow, draw_sheet
from storybook.individuals import SAMPLES
from storybook.likeness import find_likeness

ROLLED_BACK_TO = 1

Drawing = Mapping[tuple[int, int], Image.Image]
"""(place of the panel, number of the seed) -> the picture, for the panels that a version can draw."""


@dataclass(frozen=True)
class Demo:
    """Everything the demo works with."""

    base: BaseModel
    judge: Judge
    room: Classroom
    lessons: tuple[Lesson, ...]
    panels: tuple[Panel, ...]
    settings: Settings = field(default_factory=Settings)

    @property
    def nouns(self) -> dict[str, str]:
        return {lesson.name: lesson.class_noun for lesson in self.lessons}


def load_lesson(folder: Path) -> Lesson:
    """A sample concept from its folder: concept.json and numbered pictures."""
    facts = json.loads((folder / "concept.json").read_text())
    paths = sorted(folder.glob("*.png"), key=lambda path: int(path.stem))
    return Lesson(facts["name"], facts["noun"], tuple(read_picture(path) for path in paths))


def open_demo(
    base_folder: Path,
    samples: Path,
    names: Sequence[str] = SAMPLES,
    *,
    settings: Settings | None = None,
    learning: LearningSettings | None = None,
) -> Demo:
    """Load the base, its judges and the samples."""
    base, judge = load_base(base_folder), load_judge(base_folder / "clip")
    room = Classroom(
        base,
        judge=judge,
        captioner=RetrievalCaptioner.of_base(judge, base_folder),
        settings=learning or load_learning_settings(base_folder),
        likeness=find_likeness(base_folder),
        examination=ExaminationSettings(guidance=load_generation_settings(base_folder).guidance),
        thresholds=load_thresholds(base_folder),
        base_folder=base_folder,
        guards_head=False,  # the demo shows one line of versions, and reports what each did
    )
    lessons = tuple(load_lesson(samples / name) for name in names)
    panels = plan_panels([lesson.name for lesson in lessons])
    return Demo(base, judge, room, lessons, panels, settings or Settings())


def begin_history(out: Path, base_folder: Path, base: BaseModel) -> HistoryFolder:
    """A fresh history under `out`; that of an earlier demo there is removed."""
    folder = out / "history"
    if (folder / "history.json").exists():
        shutil.rmtree(folder)
    return HistoryFolder.create(folder, str(base_folder.resolve()), base.id)


def draw_version(demo: Demo, version: Version, on_step: Callable[[int, int], None] | None = None) -> Drawing:
    """Draw every panel that `version` has the concepts for.

    Each kind of panel is drawn by itself: generic pictures so are made in batches of the same rows at every version,
    and what differs between them comes from the weights alone.
    """
    learned = [delta.concept for delta in version.deltas]
    prompts = [panel.prompt_for(demo.nouns, learned) for panel in demo.panels]
    requests = plan_requests(demo.panels, prompts, demo.settings)
    drawing: dict[tuple[int, int], Image.Image] = {}
    total = sum(request.steps for request in requests.values())
    for kind in KINDS:
        keys = [key for key in requests if demo.panels[key[0]].kind == kind]
        before = len(drawing) * demo.settings.steps
        report = partial(_shifted, on_step, before, total)
        pixels = generate(
            demo.base, version, [requests[key] for key in keys], batch=demo.settings.batch, on_step=report
        )
        drawing |= zip(keys, to_pictures(pixels))
    return drawing


def _shifted(on_step: Callable[[int, int], None] | None, before: int, total: int, done: int, _: int) -> None:
    if on_step is not None:
        on_step(before + done, total)


def identical(one: Drawing, other: Drawing) -> bool:
    """Whether two drawings hold the same pictures, byte for byte."""
    return one.keys() == other.keys() and all(one[key].tobytes() == other[key].tobytes() for key in one)


# --- measuring --------------------------------------------------------------------------------------------------------


def select_pictures(
    demo: Demo, drawing: Drawing, kind: Kind, concept: str | None = None
) -> tuple[list[Image.Image], list[str]]:
    """The pictures of one kind (of one concept), and for each what it shows in words that the judge knows."""
    keys = [
        key
        for key in drawing
        if demo.panels[key[0]].kind == kind and (concept is None or demo.panels[key[0]].concepts == (concept,))
    ]
    return [drawing[key] for key in keys], [demo.panels[key[0]].plain_prompt(demo.nouns) for key in keys]


def score_drawings(demo: Demo, drawings: Sequence[Drawing]) -> list[dict[str, Any]]:
    """Every concept at every version since it was learned; as version 0 its class noun on the untouched base."""
    scores = []
    for version, drawing in enumerate(drawings):
        for number, lesson in enumerate(demo.lessons, start=1):
            if version == 0 or number <= version:
                pictures, texts = select_pictures(demo, drawing, "concept", lesson.name)
                references = demo.judge.image_features(lesson.pictures)
                measured = score_pictures(demo.judge, pictures, references, texts)
                scores.append({"version": version, "concept": lesson.name, **measured})
    return scores


def score_generic(demo: Demo, drawings: Sequence[Drawing]) -> list[dict[str, Any]]:
    """Fit of generic pictures to their text at every version, and how like the untouched base's they are."""
    features: list[Tensor] = []
    entries = []
    for version, drawing in enumerate(drawings):
        pictures, texts = select_pictures(demo, drawing, "generic")
        features.append(demo.judge.image_features(pictures))
        fit = clip_score(features[-1], demo.judge.text_features(texts))
        similarity = drift(features[0], features[-1])
        entries.append({"version": version, "clip_t": fit, "similarity_to_base": similarity})
    return entries


def score_pairs(demo: Demo, drawings: Sequence[Drawing]) -> list[dict[str, Any]]:
    """Fit of each picture of two concepts to its text, in class nouns, at every version that knows both."""
    entries = []
    for version, drawing in enumerate(drawings[1:], start=1):
        learned = [lesson.name for lesson in demo.lessons[:version]]
        for place, panel in enumerate(demo.panels):
            pictures = [drawing[key] for key in drawing if key[0] == place]
            if panel.kind == "two" and pictures:
                texts = demo.judge.text_features([panel.plain_prompt(demo.nouns)] * len(pictures))
                fit = clip_score(demo.judge.image_features(pictures), texts)
                entries.append({"version": version, "prompt": panel.prompt_for(demo.nouns, learned), "clip_t": fit})
    return entries


# --- showing ----------------------------------------------------------------------------------------------------------


def lay_out_sheet(demo: Demo, drawings: Sequence[Drawing]) -> Image.Image:
    """What was taught, then one row a version; the first seed of each panel."""
    names, side = [lesson.name for lesson in demo.lessons], demo.base.native_px
    groups: dict[Kind, str] = {"two": "two together", "generic": "generic"}
    columns = [
        SheetColumn(
            panel.prompt_for(demo.nouns, names) or "",
            groups.get(panel.kind) or f"<{panel.concepts[0]}> {demo.nouns[panel.concepts[0]]}",
        )
        for panel in demo.panels
    ]
    rows = [SheetRow("taught", "pictures that were shown", [_reference(demo, place) for place in range(len(columns))])]
    for version, drawing in enumerate(drawings):
        note = f"learned <{names[version - 1]}>" if version else "the untouched base: class nouns stand in for concepts"
        rows.append(SheetRow(f"version {version}", note, [drawing.get((place, 0)) for place in range(len(columns))]))
    return draw_sheet(columns, rows, side)


def _reference(demo: Demo, place: int) -> Image.Image | None:
    """A taught picture above each column of a concept, another one above each."""
    panel = demo.panels[place]
    if panel.kind != "concept":
        return None
    lesson = next(lesson for lesson in demo.lessons if lesson.name == panel.concepts[0])
    turn = sum(earlier.concepts == panel.concepts for earlier in demo.panels[:place])
    side = demo.base.native_px
    return lesson.pictures[turn % len(lesson.pictures)].resize((side, side), Image.Resampling.LANCZOS)


# --- the whole --------------------------------------------------------------------------------------------------------


def run_demo(
    demo: Demo, folder: HistoryFolder, on_progress: OnProgress = no_progress
) -> tuple[dict[str, Any], Image.Image]:
    """Learn, draw, roll back, measure. Returns the report and the contact sheet."""
    started, checksum = time.monotonic(), demo.base.checksum()
    drawings = [draw_version(demo, compose(demo.base), partial(on_progress, "drawing with the untouched base"))]
    for number, lesson in enumerate(demo.lessons, start=1):
        teach(folder, lesson, demo.room, partial(_prefixed, on_progress, lesson.name))
        known = compose(demo.base, folder.load_deltas())
        drawings.append(draw_version(demo, known, partial(on_progress, f"drawing with version {number}")))
    again = draw_after_rollback(demo, folder, partial(on_progress, f"drawing with version {ROLLED_BACK_TO} again"))
    report = build_report(
        base={"id": demo.base.id, "sha256_before": checksum, "sha256_after": demo.base.checksum()},
        versions=folder.history.versions,
        scores=score_drawings(demo, drawings),
        zero_shot=score_generic(demo, drawings),
        two_concepts=score_pairs(demo, drawings),
        rollback={"version": ROLLED_BACK_TO, "identical": identical(drawings[ROLLED_BACK_TO], again)},
        seconds_total=time.monotonic() - started,
    )
    return report, lay_out_sheet(demo, drawings)


def draw_after_rollback(demo: Demo, folder: HistoryFolder, on_step: Callable[[int, int], None]) -> Drawing:
    """Move head back, draw with what is then read from the files, and move head to the newest version again."""
    newest = folder.history.head
    with folder.writing():
        folder.move_head(ROLLED_BACK_TO)
    drawing = draw_version(demo, compose(demo.base, HistoryFolder.open(folder.folder).load_deltas()), on_step)
    with folder.writing():
        folder.move_head(newest, "the demo is over")
    return drawing


def _prefixed(on_progress: OnProgress, name: str, stage: str, done: int, total: int) -> None:
    on_progress(f"{name}: {stage}", done, total)


def write_results(out: Path, report: Mapping[str, Any], sheet: Image.Image) -> None:
    out.mkdir(parents=True, exist_ok=True)
    sheet.save(out / "contact-sheet.png")
    written = json.dumps(as_json(report), indent=1, allow_nan=False)
    write_atomically(out / "report.json", f"{written}\n".encode())


def show_checks(console: Console, checks: Sequence[Check]) -> None:
    for check in checks:
        mark, style = ("holds ", "green") if check.holds else ("FAILED", "bold red")
        console.print(mark, style=style, end="  ")
        console.print(check.sentence, markup=False, highlight=False, soft_wrap=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo-out"))
    parser.add_argument("--base", type=Path, default=MODEL_FOLDER, help="folder of the base, with its CLIP in clip/")
    parser.add_argument("--samples", type=Path, default=SAMPLES_FOLDER)
    parser.add_argument("--learning-steps", type=int, help="default: those of the base")
    parser.add_argument("--steps", type=int, default=Settings.steps, help="denoising steps of each picture")
    options = parser.parse_args()
    console = Console(stderr=True)
    try:
        learning = load_learning_settings(options.base)
        if options.learning_steps is not None:
            learning = replace(learning, steps=options.learning_steps)
        demo = open_demo(options.base, options.samples, settings=Settings(steps=options.steps), learning=learning)
        folder = begin_history(options.out, options.base, demo.base)
        with progress_bar() as on_progress:
            report, sheet = run_demo(demo, folder, on_progress)
    except CnsError as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return 1
    write_results(options.out, report, sheet)
    checks = check_report(report)
    show_checks(console, checks)
    console.print(f"{report['seconds_total']:.0f} s. Look at {options.out / 'contact-sheet.png'}.", highlight=False)
    return 0 if all(check.holds for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
