"""Tiny base models, built once per session; and before anything else, settings that whoever runs the tests has exported
are taken away: they are of another service, which the tests would use and empty.
"""

import os
import shutil
from pathlib import Path

import pytest
import torch

from app.config import variables
from cns.base_model import BaseModel, load_base
from tests import tiny, tiny_clip

for name in variables() & os.environ.keys():
    del os.environ[name]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where the bases of the tests compute (default: cpu)")


def pytest_configure(config: pytest.Config) -> None:
    """Elsewhere than on a CPU libraries may warn of what nobody here has met: that is shown and fails no test."""
    if config.getoption("--device") != "cpu":
        config.addinivalue_line("filterwarnings", "default::UserWarning")


@pytest.fixture(scope="session")
def device(pytestconfig: pytest.Config) -> torch.device:
    """What `--device` names. Some tests promise what only a CPU holds (the same bytes): elsewhere these may fail."""
    return torch.device(pytestconfig.getoption("--device"))


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
def sd1(sd1_folder: Path, device: torch.device) -> BaseModel:
    """Stable Diffusion 1.x shape, epsilon. Shared by all tests: it is frozen, and tests hold that it stays so."""
    return load_base(sd1_folder, device=device)


@pytest.fixture(scope="session")
def sd2(sd2_folder: Path, device: torch.device) -> BaseModel:
    """Stable Diffusion 2.x shape, v-prediction with zero terminal SNR."""
    return load_base(sd2_folder, device=device)


@pytest.fixture(scope="session")
def sdxl(sdxl_folder: Path, device: torch.device) -> BaseModel:
    """SDXL shape, two text encoders."""
    return load_base(sdxl_folder, device=device)
