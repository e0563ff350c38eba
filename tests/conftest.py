"""Tiny base models, built once per session; and before anything else, settings that whoever runs the tests has exported
are taken away: they are of another service, which the tests would use and empty.
"""

import os
import shutil
from pathlib import Path

import pytest

from app.config import variables
from cns.base_model import BaseModel, load_base
from tests import tiny, tiny_clip

for name in variables() & os.environ.keys():
    del os.environ[name]


@pytest.fixture(scope="session")
def sd1_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_sd1(tmp_path_factory.mktemp("base") / "sd1")


@pytest.fixture(scope="session")
def judged_folder(sd1_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a CLIP beside it, so that what is learned on it is examined."""
    folder = shutil.copytree(sd1_folder, tmp_path_factory.mktemp("base") / "judged")
    tiny_clip.build_clip(folder / "clip")
    return folder


@pytest.fixture(scope="session")
def sd2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_sd2(tmp_path_factory.mktemp("base") / "sd2")


@pytest.fixture(scope="session")
def sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.build_sdxl(tmp_path_factory.mktemp("base") / "sdxl")


@pytest.fixture(scope="session")
def sd1(sd1_folder: Path) -> BaseModel:
    """Stable Diffusion 1.x shape, epsilon. Shared by all tests: it is frozen, and tests hold that it stays so."""
    return load_base(sd1_folder)


@pytest.fixture(scope="session")
def sd2(sd2_folder: Path) -> BaseModel:
    """Stable Diffusion 2.x shape, v-prediction with zero terminal SNR."""
    return load_base(sd2_folder)


@pytest.fixture(scope="session")
def sdxl(sdxl_folder: Path) -> BaseModel:
    """SDXL shape, two text encoders."""
    return load_base(sdxl_folder)
