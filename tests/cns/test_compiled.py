"""What a compiled denoiser is made for, and what is said where none can be made."""

import json
from pathlib import Path

import pytest
import torch

from cns.base_model import BaseModel
from cns.compiled import CompiledDenoiser
from cns.compiling import FEWEST_ROWS, MOST_ROWS, CannotCompile, Form, compile_denoiser
from cns.compose import compose
from cns.denoise import GenerationRequest, GenerationRun
from cns.kv import join_rows


def form_of(base: BaseModel, rows: int = 2, **size: int) -> Form:
    run = GenerationRun(base, compose(base), GenerationRequest("a photo of a dog", guidance=1.0, **size))
    added = {name: condition.expand(rows, -1) for name, condition in run.added.items()} if run.added else None
    return Form.of(run.latents.expand(rows, -1, -1, -1), join_rows([run.prompts[0].kv] * rows), added)


@pytest.mark.parametrize("name", ["sd1", "sdxl"])
def test_a_form_is_the_same_after_json(name: str, request: pytest.FixtureRequest) -> None:
    form = form_of(request.getfixturevalue(name))
    assert Form.from_json(json.loads(json.dumps(form.to_json()))) == form
    assert len(form.kv) * 2 == len(request.getfixturevalue(name).kv_weights)
    assert [name for name, _ in form.added] == (["text_embeds", "time_ids"] if name == "sdxl" else [])


def test_pictures_of_one_size_have_one_form_however_many_go_together(sd1: BaseModel) -> None:
    assert form_of(sd1, rows=2) == form_of(sd1, rows=7)
    assert form_of(sd1) != form_of(sd1, width_px=32, height_px=16)


def test_without_a_compiler_there_is_a_sentence(
    sd1: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", str(tmp_path / "no-compiler"))
    with pytest.raises(CannotCompile, match=r"There is no C\+\+ compiler here"):
        compile_denoiser(sd1.unet.config, form_of(sd1), torch.device("cpu"), tmp_path / "step.pt2")


def test_a_file_that_is_no_program_is_refused(sd1: BaseModel, tmp_path: Path) -> None:
    path = tmp_path / "step.pt2"
    path.write_bytes(b"no program")
    with pytest.raises(CannotCompile, match="cannot be loaded"):
        CompiledDenoiser(sd1, form_of(sd1), path)


def test_a_program_is_for_the_rows_that_it_was_made_for() -> None:
    takes = [rows for rows in range(100) if CompiledDenoiser.takes(rows)]
    assert takes == list(range(FEWEST_ROWS, MOST_ROWS + 1))
