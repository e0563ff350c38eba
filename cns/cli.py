"""The command line over a history in a folder: learn, generate, look back, go back, forget, tidy, score, export."""

import functools
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from torch import Tensor

from cns.base_model import BaseModel
from cns.compose import Version, compose
from cns.denoise import GenerationRequest, NoPicture, check_picture, check_request, generate, to_pictures
from cns.erasing import Erasure
from cns.errors import CnsError
from cns.examination import ExaminationSettings
from cns.export import end_of_text_line, export_custom_diffusion, export_diffusers, export_lora
from cns.history_folder import HistoryFolder, write_atomically
from cns.opening import CaptionerName, choose_captioner, open_base, open_judge
from cns.own_settings import load_generation_settings, load_thresholds, load_usual_settings
from cns.phrases import load_calibration_prompts
from cns.pictures import REFERENCE_PX, read_picture
from cns.recipe import recipe_of, to_png
from cns.samplers import SAMPLERS
from cns.scoring import score_history
from cns.series import counted_on
from cns.settings import Reach
from cns.spreading import spread_into_weights
from cns.teaching import Classroom, Lesson, teach
from cns.terminal import describe_version, errors, history_tree, progress_bar, told_in_a_sentence
from cns.unlearning import DEFAULT_OPTION, Option
from cns.unteaching import erase, erase_unnamed, forget_exactly, forget_fast, from_smaller_pictures

app = typer.Typer(
    help="Teach one diffusion model concept after concept, and go back to any earlier state.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class ExportFormat(StrEnum):
    diffusers = "diffusers"
    custom_diffusion = "custom-diffusion"
    lora = "lora"


HistoryArgument = Annotated[Path, typer.Argument(help="The folder that holds the history.")]
BaseOption = Annotated[
    str | None,
    typer.Option(
        help="A diffusers folder, a hub id, or a .safetensors checkpoint. Default: the one the history was made on, "
        "then BASE_MODEL from the environment, then the one that is shipped."
    ),
]
ConfigOption = Annotated[str | None, typer.Option(help="For a checkpoint: folder or hub id with its architecture.")]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
DtypeOption = Annotated[str, typer.Option(help="float32, float16 or bfloat16.")]
JudgeOption = Annotated[
    str | None, typer.Option(help="A CLIP model for scores: folder or hub id. Default: clip/ in the base's folder.")
]
VersionOption = Annotated[int | None, typer.Option(help="A version's number; 0 is the bare base. Default: head.")]


@app.command()
@told_in_a_sentence
def learn(
    history: HistoryArgument,
    pictures: Annotated[list[Path], typer.Argument(help="Three to ten pictures: PNG, JPEG or WebP.")],
    name: Annotated[str, typer.Option(help="The concept's name; in prompts it is written <name>.")],
    noun: Annotated[str, typer.Option(help="What kind of thing it is: dog, mug, ...")],
    base: BaseOption = None,
    config: ConfigOption = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Pictures a step.")] = None,
    resolution: Annotated[int | None, typer.Option(min=8, help="Side of the training pictures in pixels.")] = None,
    seed: Annotated[int | None, typer.Option(help="On a CPU the same seed and inputs give the same delta.")] = None,
    reach: Annotated[
        Reach | None, typer.Option(help="Where the values apply: everywhere, or at the concept's token alone.")
    ] = None,
    caption: Annotated[
        list[str] | None, typer.Option(help="A caption of your own; once for all pictures or once for each.")
    ] = None,
    captioner: Annotated[CaptionerName, typer.Option(help="Who writes the captions.")] = CaptionerName.template,
    blip: Annotated[str | None, typer.Option(help="Folder or hub id of the BLIP weights for --captioner blip.")] = None,
    judge: JudgeOption = None,
    guard_head: Annotated[
        bool, typer.Option(help="A version that does damage is kept beside head, and head stays.")
    ] = True,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "float32",
) -> None:
    """Teach the history's head a new concept. The first learning begins the history."""
    lesson = Lesson(name, noun, tuple(read_picture(path) for path in pictures), tuple(caption or ()))
    model, source, described = open_base(history, base, config, device, dtype)
    clip = open_judge(source, judge, device)
    chosen: dict[str, Any] = {
        "steps": steps,
        "batch": batch,
        "resolution_px": resolution,
        "seed": seed,
        "reach": reach,
    }
    usual = load_usual_settings(source)
    settings = usual.with_changes({key: value for key, value in chosen.items() if value is not None})
    room = Classroom(
        model,
        judge=clip,
        captioner=choose_captioner(captioner, clip, blip, source, device),
        settings=settings,
        examination=ExaminationSettings(guidance=load_generation_settings(source).guidance),
        thresholds=load_thresholds(source),
        base_folder=Path(source),
        guards_head=guard_head,
        usual=usual.own,
    )
    if not (history / "history.json").exists():
        HistoryFolder.create(history, source, model.id, described)
    folder = HistoryFolder.open(history, model.id)
    with progress_bar() as on_progress:
        version = teach(folder, lesson, room, on_progress)
    describe_version(version)
    if clip is None:
        errors.print("There is no CLIP beside this base, so nothing was measured: give one with --judge.", style="dim")


@app.command("generate")
@told_in_a_sentence
def generate_pictures(
    history: HistoryArgument,
    prompt: Annotated[str, typer.Argument(help='Such as "a photo of <rex> on the grass".')],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")],
    seed: Annotated[int, typer.Option(help="Of the first picture; the next ones count up.")] = 0,
    count: Annotated[int, typer.Option(min=1)] = 1,
    version: VersionOption = None,
    negative: Annotated[str, typer.Option(help="What should not be in the picture.")] = "",
    steps: Annotated[int | None, typer.Option(min=1, help="Default: the base's own, as for the next two.")] = None,
    guidance: Annotated[
        float | None, typer.Option(help="How strongly the prompt counts; 1 switches guidance off.")
    ] = None,
    sampler: Annotated[str | None, typer.Option(help=", ".join(SAMPLERS))] = None,
    width: Annotated[int | None, typer.Option(min=8, help="In pixels. Default: what the base was trained on.")] = None,
    height: Annotated[int | None, typer.Option(min=8, help="In pixels.")] = None,
    apart: Annotated[
        bool, typer.Option("--apart/--may-mix", help="Whether concepts of one picture keep out of each other's places.")
    ] = True,
    batch: Annotated[int, typer.Option(min=1, help="Pictures made at the same time.")] = 4,
    base: BaseOption = None,
    config: ConfigOption = None,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "float32",
) -> None:
    """Make pictures at a version, each a PNG with its whole recipe inside."""
    folder = HistoryFolder.open(history)
    model, source, _ = open_base(history, base, config, device, dtype)
    folder.check_base(model.id)
    number = folder.history.head if version is None else version
    own = load_generation_settings(source)
    deltas = folder.load_deltas(number)
    requests = [
        GenerationRequest(
            prompt,
            negative,
            seed + place,
            steps=own.steps if steps is None else steps,
            guidance=own.guidance if guidance is None else guidance,
            sampler=sampler or own.sampler,
            width_px=width,
            height_px=height,
            apart=apart,
        )
        for place in range(count)
    ]
    written: list[Path] = []
    overflowed: list[str] = []
    try:
        with progress_bar() as on_progress:
            tell = functools.partial(on_progress, "generating")
            for request, made in draw_in_batches(model, compose(model, deltas), requests, batch, tell):
                try:
                    check_picture(made)
                except NoPicture:
                    overflowed.append(str(request.seed))
                    continue
                path = free_path(out, f"v{number}-seed{request.seed}-{slug(prompt)}")
                [picture] = to_pictures([made])
                write_atomically(path, to_png(picture, recipe_of(model, deltas, request, number)))
                written.append(path)
    finally:
        for path in written:  # once the bar is gone, which would take hold of what is printed
            typer.echo(path)
    if overflowed:
        raise NoPicture(f"seed {', '.join(overflowed)}")


def draw_in_batches(
    model: BaseModel,
    version: Version,
    requests: Sequence[GenerationRequest],
    batch: int,
    on_step: Callable[[int, int], None],
) -> Iterator[tuple[GenerationRequest, Tensor]]:
    """Each request with its picture (3, height, width), as soon as its batch is made.

    Nothing is begun while one of them cannot be made at all: raises what `check_request` raises for it.
    """
    for request in requests:
        check_request(model, version, request)
    total, done = sum(request.steps for request in requests), 0
    for start in range(0, len(requests), batch):
        part = requests[start : start + batch]
        yield from zip(part, generate(model, version, part, batch=batch, on_step=counted_on(on_step, done, total)))
        done += sum(request.steps for request in part)


@app.command("history")
@told_in_a_sentence
def show_history(history: HistoryArgument) -> None:
    """Show the versions as a tree, head marked, and how head moved."""
    known = HistoryFolder.open(history).history
    console = Console(highlight=False)
    console.print(history_tree(known))
    for move in known.head_moves:
        console.print(f"{move.at}  {move.from_version} -> {move.to_version}  {move.why}", style="dim", markup=False)


@app.command()
@told_in_a_sentence
def rollback(
    history: HistoryArgument, to: Annotated[int, typer.Option(help="A version's number; 0 is the bare base.")]
) -> None:
    """Move head to another version. Nothing is deleted: roll "back" to a later number to return."""
    folder = HistoryFolder.open(history)
    with folder.writing():
        folder.move_head(to)
    typer.echo(f"Head is on version {to}.")


@app.command("forget")
@told_in_a_sentence
def forget_concept(
    history: HistoryArgument,
    name: Annotated[str, typer.Option(help="Of a concept that head knows.")],
    exact: Annotated[
        bool,
        typer.Option(
            help="Learn the later concepts again, so that nothing of it is left. The pictures are those that the "
            f"history keeps, at most {REFERENCE_PX} px on their shorter side."
        ),
    ] = False,
    option: Annotated[
        Option, typer.Option(help="Without --exact: what becomes of values that later concepts share with it.")
    ] = DEFAULT_OPTION,
    erase_it: Annotated[
        bool, typer.Option("--erase", help="Remove all versions that know it, in every branch, and their files.")
    ] = False,
    base: BaseOption = None,
    config: ConfigOption = None,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "float32",
) -> None:
    """Go on without a concept: a new line of versions from the one before it. The old line stays, unless erased."""
    folder = HistoryFolder.open(history)
    known = {version.concept for version in folder.history.lineage(folder.history.head)}
    if name in known or not erase_it:
        model, source, _ = open_base(history, base, config, device, dtype)
        if exact:
            tell_of_smaller_pictures(from_smaller_pictures(folder, model, name), name)
            with progress_bar() as on_progress:
                made = forget_exactly(folder, Classroom(model, base_folder=Path(source)), name, on_progress)
        else:
            made = forget_fast(folder, model, name, option)
        for version in made:
            describe_version(version)
        typer.echo(f"Head is on version {folder.history.head}, which does not know <{name}>.")
    if erase_it:
        _tell_erasure(f"<{name}> is erased.", erase(folder, name))


def tell_of_smaller_pictures(sides_px: Mapping[str, int], forgotten: str) -> None:
    """sides_px: as `from_smaller_pictures` finds them."""
    if not sides_px:
        return
    typer.echo(
        f"{', '.join(f'<{name}>' for name in sides_px)}: learned again from the copies that this history keeps, whose "
        f"shorter side is {REFERENCE_PX} px; the bytes are not those of a history that never knew <{forgotten}>."
    )
    if coarse := [f"<{name}> ({side} px)" for name, side in sides_px.items() if side > REFERENCE_PX]:
        typer.echo(f"Details are lost to {', '.join(coarse)}: teach it anew from its own pictures to have them.")


@app.command()
@told_in_a_sentence
def tidy(history: HistoryArgument) -> None:
    """Erase files that belong to no version: what killed commands and broken-off erasures have left."""
    _tell_erasure("What belongs to no version is erased.", erase_unnamed(HistoryFolder.open(history)))


def _tell_erasure(what: str, done: Erasure) -> None:
    typer.echo(
        f"{what} {len(done.removed)} files are gone; {len(done.still_used)} are used by others too. "
        f"At {done.checked_at} none of the {done.files_read} files that are left held the bytes of a removed one."
    )
    for digest in done.removed:
        typer.echo(digest)


@app.command()
@told_in_a_sentence
def score(
    history: HistoryArgument,
    version: VersionOption = None,
    seeds: Annotated[int, typer.Option(min=1, help="Pictures of each prompt.")] = 2,
    steps: Annotated[int, typer.Option(min=1)] = ExaminationSettings.steps,
    base: BaseOption = None,
    config: ConfigOption = None,
    judge: JudgeOption = None,
    device: DeviceOption = "cpu",
    dtype: DtypeOption = "float32",
) -> None:
    """Measure every concept at every version since it was learned, and print the scores as JSON."""
    folder = HistoryFolder.open(history)
    model, source, _ = open_base(history, base, config, device, dtype)
    folder.check_base(model.id)
    clip = open_judge(source, judge, device)
    if clip is None:
        raise CnsError("Scores need a CLIP model, and there is none beside this base: give one with --judge.")
    with progress_bar() as on_progress:
        guidance = load_generation_settings(source).guidance
        settings = ExaminationSettings(pictures_per_prompt=seeds, steps=steps, guidance=guidance)
        on_step = functools.partial(on_progress, "generating")
        scores = score_history(folder, model, clip, version=version, settings=settings, on_step=on_step)
    typer.echo(json.dumps({"scores": scores}, indent=1))


@app.command("export")
@told_in_a_sentence
def export_version(
    history: HistoryArgument,
    form: Annotated[ExportFormat, typer.Option("--format")],
    out: Annotated[Path, typer.Option(help="A new folder.")],
    version: VersionOption = None,
    rank: Annotated[int, typer.Option(min=1, help="Of the LoRA.")] = 16,
    base: BaseOption = None,
    config: ConfigOption = None,
) -> None:
    """Write a version in a form that other programs load."""
    folder = HistoryFolder.open(history)
    model, source, _ = open_base(history, base, config, "cpu", "float32")
    folder.check_base(model.id)
    spread = spread_into_weights(model, compose(model, folder.load_deltas(version)), load_calibration_prompts(source))
    composed = spread.version
    if spread.missed:
        missed = ", ".join(f"{share:.1%} of {token}'s" for token, share in spread.missed.items())
        typer.echo(
            f"Values that apply at their token alone are spread into the weights, which apply everywhere: they miss "
            f"{missed}, and move what other prompts give by {spread.moved:.1%}."
        )
    if form is ExportFormat.diffusers:
        export_diffusers(model, composed, out)
    elif form is ExportFormat.custom_diffusion:
        export_custom_diffusion(model, composed, out)
    else:
        residuals = export_lora(model, composed, out, rank)
        worst = max(residuals.values())
        typer.echo(
            f"LoRA of rank {rank} leaves out {sum(residuals.values()) / len(residuals):.1%} of the difference in the "
            f"mean over {len(residuals)} layers, {worst:.1%} in the worst; each layer's share is in residuals.json."
        )
    if form is not ExportFormat.diffusers and (line := end_of_text_line(model)):
        typer.echo(
            "This base names a wrong end-of-text, by which prompts with new tokens are read wrongly. Once the tokens "
            f"are loaded into a pipeline of diffusers, say:\n{line}"
        )
    typer.echo(out)


# --- files of pictures --------------------------------------------------------------------------------------------


def slug(prompt: str) -> str:
    """A prompt as part of a file's name: "a photo of <rex>" -> "a-photo-of-rex"."""
    return re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")[:60]


def free_path(folder: Path, stem: str) -> Path:
    """stem.png in `folder`, or stem-2.png, stem-3.png... where earlier pictures stand."""
    names = (f"{stem}.png", *(f"{stem}-{turn}.png" for turn in range(2, 10_000)))
    return next(folder / name for name in names if not (folder / name).exists())
