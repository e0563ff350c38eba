"""What a run needs and loads once: the base, its judges, its own settings, its methods and the streams."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.continual.asking import Asking
from benchmarks.continual.cns_methods import cns_in_every_setting
from benchmarks.continual.digest import stream_digest
from benchmarks.continual.judging import CLIP, MEASURES, Judges, Jury
from benchmarks.continual.method import Budget, Method
from benchmarks.continual.registry import all_methods
from benchmarks.continual.storybook_streams import storybook_streams
from benchmarks.continual.streams import Stream, StreamRefused, load_stream
from benchmarks.kept import digest_of
from cns.base_model import BaseModel, load_base
from cns.captions import RetrievalCaptioner
from cns.judge import load_judge
from cns.own_settings import load_generation_settings, load_usual_settings
from cns.phrases import load_calibration_prompts, load_generic_prompts
from cns.settings import LearningSettings
from storybook import MODEL_FOLDER
from storybook.likeness import find_likeness


@dataclass
class Laboratory:
    """Everything of one base. every_setting: a method for sweeps alone.

    juries are made when first asked for, since making one paints pictures.
    """

    base: BaseModel
    judges: Judges
    settings: LearningSettings
    asking: Asking
    methods: dict[str, Method]
    every_setting: Method
    streams: dict[str, Stream]
    juries: dict[str, Jury] = field(default_factory=dict)

    def jury(self, stream: Stream) -> Jury:
        """Who judges this stream (as long as it now is)."""
        key = stream_digest(stream)
        if key not in self.juries:
            self.juries[key] = Jury(self.base, stream, self.judges, self.asking)
        return self.juries[key]

    def setup(self, stream: Stream, budget: Budget) -> dict[str, Any]:
        """What all cells that are compared have in common, for JSON; of the budget's seed nothing."""
        return {
            "measures": MEASURES,
            "base_id": self.base.id,
            "dtype": str(self.base.dtype),
            "judges": {name: judge.id for name, judge in self.judges.of_likeness.items()},
            "asking": asdict(self.asking),
            "budget": {name: value for name, value in asdict(budget).items() if name != "seed"},
            "stream": stream_digest(stream),
        }

    def question(self, method: Method, stream: Stream, budget: Budget, options: Mapping[str, float]) -> str:
        """A digest of all that decides a cell's figures, but for the code and the machine."""
        own = {
            "method": method.name,
            "options": dict(options),
            "seed": budget.seed,
            "given": dict(method.given),
        }
        return digest_of({**self.setup(stream, budget), **own})


def open_laboratory(
    base_folder: Path = MODEL_FOLDER,
    *,
    concepts: Path | None = None,
    judge: str | None = None,
    device: str = "cpu",
    asking: Asking | None = None,
) -> Laboratory:
    """Load a base. judge: folder or hub id of a CLIP; None for the one in the base's folder.

    concepts: a folder of people's own concepts, which becomes the stream "one" (see `load_stream`); without it the
    streams are the storybook's, and so must the base be. Raises StreamRefused where it is another.
    """
    base = load_base(base_folder, device=device)
    if concepts is None and base.native_px != 64:
        raise StreamRefused("The storybook's streams are for the storybook base: name your own pictures by --concepts.")
    clip = load_judge(judge or base_folder / CLIP, device)
    usual = load_usual_settings(base_folder)
    generation = load_generation_settings(base_folder)
    if concepts is None:
        streams = storybook_streams()
    else:
        captioner = RetrievalCaptioner.of_base(clip, base_folder)
        one = load_stream("one", concepts, captioner, load_generic_prompts(base_folder), base_folder)
        streams = {"one": one, "two": one.reversed("two")}
    calibration = _unjudged(load_calibration_prompts(base_folder), streams)
    return Laboratory(
        base,
        Judges(clip, find_likeness(base_folder)),
        usual.own,
        asking or Asking(generation),
        all_methods(usual, calibration, generation.guidance),
        cns_in_every_setting(usual.own, calibration),
        streams,
    )


def _unjudged(prompts: Sequence[str], streams: Mapping[str, Stream]) -> tuple[str, ...]:
    """`prompts` without those that generic ability is judged by: a method that is shown general prompts, as ours are,
    must not be shown these.
    """
    judged = {prompt for stream in streams.values() for prompt in stream.generic_prompts}
    return tuple(prompt for prompt in prompts if prompt not in judged)
