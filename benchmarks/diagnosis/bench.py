"""One learning with its examination, as a person's is examined; kept in a folder, so that none is made twice."""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.learning import learn_whole, renders
from benchmarks.two_tones import TwoTones
from cns.base_model import BaseModel, load_base
from cns.captions import Captioner, RetrievalCaptioner
from cns.compose import compose
from cns.delta import Delta
from cns.examination import Examination, ExaminationSettings, StudiedConcept, examine
from cns.history_folder import write_atomically
from cns.judge import ImageEncoder, Judge, load_judge
from cns.learning import Concept
from cns.own_settings import UsualSettings, load_generation_settings, load_usual_settings
from cns.phrases import load_calibration_prompts, load_generic_prompts
from cns.series import MadePictures
from cns.settings import LearningSettings
from cns.teaching import Lesson, write_captions
from storybook.individuals import Individual
from storybook.likeness import find_likeness

PICTURE_SEED = 300


@dataclass(frozen=True)
class Bench:
    """What learnings are made with. folder: where what was learned is kept."""

    base: BaseModel
    judge: Judge
    likeness: ImageEncoder
    captioner: Captioner
    usual: UsualSettings
    examination: ExaminationSettings
    calibration: tuple[str, ...]
    generic: tuple[str, ...]
    folder: Path
    made: MadePictures = field(default_factory=dict)


@dataclass(frozen=True)
class Learned:
    """An individual or a style that was learned. pictures: what it was learned from."""

    who: Individual | TwoTones
    pictures: tuple[Image.Image, ...]
    delta: Delta
    examination: Examination
    seconds: float

    @property
    def studied(self) -> StudiedConcept:
        """As an earlier concept of the next examination."""
        return StudiedConcept(self.who.name, self.who.noun, self.pictures, self.examination.concepts[self.who.name])


def open_bench(base_folder: Path, folder: Path) -> Bench:
    """A base with its own settings, judges and prompts. ValueError for one without judges."""
    likeness = find_likeness(base_folder)
    if likeness is None or not (base_folder / "clip").is_dir():
        raise ValueError(f"{base_folder} has no judges: a CLIP and an individuals' encoder are needed.")
    judge = load_judge(base_folder / "clip")
    return Bench(
        base=load_base(base_folder),
        judge=judge,
        likeness=likeness,
        captioner=RetrievalCaptioner.of_base(judge, base_folder),
        usual=load_usual_settings(base_folder),
        examination=ExaminationSettings(guidance=load_generation_settings(base_folder).guidance),
        calibration=load_calibration_prompts(base_folder),
        generic=load_generic_prompts(base_folder),
        folder=folder,
    )


def learn(
    bench: Bench, before: Sequence[Learned], who: Individual | TwoTones, settings: LearningSettings, pictures: int
) -> Learned:
    """Learn `who` on top of `before` and examine what it did. What was learned before is read from the folder."""
    taught = tuple(
        renders(who, pictures, PICTURE_SEED) if isinstance(who, Individual) else who.pictures(pictures, PICTURE_SEED)
    )
    captions = write_captions(Lesson(who.name, who.noun, taught), bench.captioner)
    place = bench.folder / learning_key(bench, before, who, settings, captions)
    kept = _read(bench, place)
    if kept is not None:
        return Learned(who, taught, *kept)
    started = time.monotonic()
    version = compose(bench.base, [one.delta for one in before])
    concept = Concept(who.name, who.noun, taught, captions)
    delta = learn_whole(bench.base, version, concept, settings, bench.calibration)
    examination = examine(
        bench.base,
        bench.judge,
        version,
        compose(bench.base, [*version.deltas, delta]),
        StudiedConcept(who.name, who.noun, taught),
        [one.studied for one in before],
        generic_prompts=bench.generic,
        settings=bench.examination,
        likeness=bench.likeness,
        usual=bench.usual.own,
        made=bench.made,
    )
    seconds = round(time.monotonic() - started, 1)
    _write(place, delta, examination, seconds)
    return Learned(who, taught, delta, examination, seconds)


def learning_key(
    bench: Bench,
    before: Sequence[Learned],
    who: Individual | TwoTones,
    settings: LearningSettings,
    captions: Sequence[str],
) -> str:
    """captions: of its pictures, one each. 40 hex digits over all that decides what is learned and measured."""
    facts = {
        "base": bench.base.id,
        "judges": [bench.judge.id, bench.likeness.id],
        "before": [one.delta.digest for one in before],
        "who": [asdict(who), captions, PICTURE_SEED],
        "prompts": [bench.calibration, bench.generic],
        "settings": settings.to_json(),
        "examination": asdict(bench.examination),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:40]


def _facts_of(place: Path) -> Path:
    return place.with_suffix(".json")


def _write(place: Path, delta: Delta, examination: Examination, seconds: float) -> None:
    """The facts come last: where they lie, the delta lies too."""
    write_atomically(place.with_suffix(".safetensors"), delta.to_bytes())
    facts: dict[str, Any] = {"examination": examination.to_json(), "seconds": seconds}
    write_atomically(_facts_of(place), json.dumps(facts, indent=1).encode())


def _read(bench: Bench, place: Path) -> tuple[Delta, Examination, float] | None:
    if not _facts_of(place).is_file():
        return None
    facts = json.loads(_facts_of(place).read_bytes())
    delta = Delta.from_bytes(place.with_suffix(".safetensors").read_bytes(), base_id=bench.base.id)
    return delta, Examination.from_json(facts["examination"]), facts["seconds"]
