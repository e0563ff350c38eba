"""What surrounds the code keeps its word: commands in documents exist, pins agree, nothing points at one machine."""

import ast
import importlib
import json
import re
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cns import own_settings
from storybook import MODEL_FOLDER

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
# A folder that only the author's machine has. The look-behind lets the middle of a relative path or an address pass.
MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:home|root|Users|work|mnt|srv)/\w")


def normalised(requirement: str) -> str:
    """A requirement's bare name, as package indexes compare them."""
    return re.split(r"[^A-Za-z0-9._-]", requirement)[0].replace("_", "-").lower()


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return {
        normalised(name): version for name, _, version in (x.partition("==") for x in lines if x[:1] not in ("#", ""))
    }


def required() -> set[str]:
    extras = PROJECT["optional-dependencies"].values()
    return {normalised(x) for x in [*PROJECT["dependencies"], *(y for extra in extras for y in extra)]}


def committed_files() -> list[Path]:
    """Files under version control and new ones that are not ignored; in an archive without git, every visible file."""
    listing = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    if not (ROOT / ".git").exists():
        return [p for p in ROOT.rglob("*") if p.is_file() and not any(part.startswith(".") for part in p.parts)]
    names = subprocess.run(listing, capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


@pytest.mark.parametrize("command", ["make demo", "make test", "make up"])
def test_the_readme_names_its_commands(command: str) -> None:
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")


def test_what_the_readme_imports_from_the_library_exists() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    imports = [x for block in blocks for x in ast.walk(ast.parse(block)) if isinstance(x, ast.ImportFrom) and x.module]
    ours = [(x.module, alias.name) for x in imports for alias in x.names if str(x.module).startswith("cns")]
    assert ours
    assert [
        f"{module}.{name}" for module, name in ours if not hasattr(importlib.import_module(str(module)), name)
    ] == []


def test_the_learning_of_the_readme_is_done_with_what_the_base_brings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the command line and the service do it; of its steps, two."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (program,) = [block for block in blocks if "LearningRun" in block]
    (tmp_path / "storybook").symlink_to(ROOT / "storybook")
    usual = own_settings.load_usual_settings(MODEL_FOLDER)
    few = replace(usual, own=replace(usual.own, steps=2, batch=2))
    asked = []

    def load_few(folder: str) -> own_settings.UsualSettings:
        asked.append(folder)
        return few

    monkeypatch.setattr(own_settings, "load_usual_settings", load_few)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(program, "README.md", "exec"), names)  # noqa: S102 - it is ours
    assert (asked, names["run"].settings, names["run"].steps_done) == (["storybook/model"], few.own, 2)
    brought = own_settings.load_generation_settings(MODEL_FOLDER)
    assert {name: getattr(names["request"], name) for name in vars(brought)} == vars(brought)
    assert (tmp_path / "zigi.png").stat().st_size


def test_the_calls_of_the_readme_are_those_of_the_interface() -> None:
    paths = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))["paths"]
    known = {re.sub(r"\{[^}]+\}", "*", path) for path in paths}
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = re.findall(r"\$api(/[^\s\"']+)", text) + re.findall(r"api\.(?:get|post)\(f?\"(/[^\"]*)\"", text)
    called = {re.sub(r"\$\w+|\{[^}]+\}+", "*", re.sub(r"\{(\w+)\[[^]]*\]\}", "{x}", path)) for path in named}
    assert len(called) >= 6
    assert {f"/api/v1{path}" for path in called} <= known


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_target_that_a_document_names_exists(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    named = set(re.findall(r"(?:^|`)make ([a-z][a-z-]*)", text, re.MULTILINE))
    assert named <= TARGETS


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_link_within_the_repository_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8"))
    missing = [x for x in links if "://" not in x and not (document.parent / x).exists()]
    assert missing == []


def test_the_environment_of_the_makefile_has_every_extra_but_the_peers() -> None:
    extras = ",".join(name for name in PROJECT["optional-dependencies"] if name != "peers")
    assert f"-e '.[{extras}]' -c constraints.txt" in MAKEFILE


def test_every_target_is_listed_with_what_it_does() -> None:
    described = set(re.findall(r"^([a-z][a-z-]*):.*## \S", MAKEFILE, re.MULTILINE))
    assert described == TARGETS


def test_the_changelog_has_an_entry_for_the_version() -> None:
    assert re.search(
        rf"^## {re.escape(PROJECT['version'])}\b", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )


def test_the_library_tells_the_version_of_the_project() -> None:
    source = (ROOT / "cns" / "__init__.py").read_text(encoding="utf-8")
    assert f'__version__ = "{PROJECT["version"]}"' in source


def test_every_dependency_is_pinned_to_one_version() -> None:
    assert required() <= pins().keys()
    assert all(re.fullmatch(r"[0-9][0-9a-z.]*", version) for version in pins().values())


def test_the_makefile_installs_the_pinned_torch() -> None:
    assert f"'torch=={pins()['torch']}'" in MAKEFILE


def test_every_dependency_has_its_line_of_justification() -> None:
    log = (ROOT / "docs" / "decisions" / "0004-dependencies.md").read_text(encoding="utf-8")
    rows = "\n".join(line.split("|")[1] for line in log.splitlines() if line.startswith("|"))
    assert {name for name in required() if not re.search(rf"\b{name}\b", rows.replace("_", "-"))} == set()


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_its_four_parts(decision: Path) -> None:
    headings = re.findall(r"^## (.+)$", decision.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == ["Context", "Decision", "Consequences", "Alternatives"]


def test_every_decision_is_listed() -> None:
    index = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    assert [x.name for x in DECISIONS if f"({x.name})" not in index] == []


def test_no_file_names_a_folder_of_one_machine() -> None:
    found = []
    for path in committed_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture or weights
        found += [f"{path.relative_to(ROOT)}: {hit.group()}" for hit in MACHINE_PATH.finditer(text)]
    assert found == []


def test_a_folder_of_one_machine_would_be_seen() -> None:
    folder = "/" + "home/someone/x"
    assert MACHINE_PATH.search(f"load('{folder}')")
    assert not MACHINE_PATH.search("https://example.org" + folder)


def test_the_ci_script_is_sound_bash_and_may_be_run() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", str(script)], check=True)
