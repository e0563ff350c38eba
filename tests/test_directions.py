"""Who may import whom. One direction of dependencies keeps the method usable from a notebook and the service small."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OURS = {"cns", "storybook", "app", "worker", "benchmarks", "demo", "tests"}
STANDARD = set(sys.stdlib_module_names)

# What each package may import beyond the standard library and itself.
MAY_IMPORT = {
    "cns": {"torch", "diffusers", "transformers", "tokenizers", "safetensors", "huggingface_hub", "numpy", "PIL"},
    "app": {
        *("fastapi", "starlette", "uvicorn", "jinja2", "markupsafe", "sqlalchemy", "alembic", "pydantic"),
        *(
            "pydantic_core",
            "pydantic_settings",
            "celery",
            "kombu",
            "redis",
            "limits",
            "pwdlib",
            "structlog",
            "prometheus_client",
            "obstore",
        ),
        *("PIL", "pillow_heif", "psycopg", "python_multipart"),
    },
    "worker": {
        *("app", "cns", "storybook", "torch", "numpy", "PIL", "sqlalchemy", "celery", "kombu", "redis", "structlog"),
    },
    "storybook": {"cns", "torch", "diffusers", "transformers", "tokenizers", "safetensors", "numpy", "PIL"},
    "demo": {"app", "cns", "storybook", "httpx", "PIL"},
}
# Files that talk to a person; they alone may use what draws on a terminal.
TALKS_TO_A_PERSON = {"cns/cli.py", "cns/terminal.py", "cns/__main__.py", "storybook/demo.py", "demo/__main__.py"}
TERMINAL = {"typer", "rich"}
# The web service starts in a second on a small host, so nothing heavy may come in by any door.
NEVER_IN_APP = {"torch", "diffusers", "transformers", "tokenizers", "cns", "worker", "storybook", "demo"}


def source_files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported_roots(source: str, package: str) -> Iterator[tuple[int, str]]:
    """Line and top-level name of every import, wherever in the file it stands (also inside functions)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom):
            inside = node.level > 0 or node.module is None
            yield node.lineno, package if inside else str(node.module).partition(".")[0]


def forbidden_imports(package: str, allowed: set[str]) -> list[str]:
    found = []
    for path in source_files(package):
        name = path.relative_to(ROOT).as_posix()
        may = allowed | STANDARD | {package} | (TERMINAL if name in TALKS_TO_A_PERSON else set())
        found += [
            f"{name}:{line} imports {root}"
            for line, root in imported_roots(path.read_text(encoding="utf-8"), package)
            if root not in may
        ]
    return found


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_a_package_that_exists_is_really_read(package: str) -> None:
    assert len(source_files(package)) >= 5, f"{package}/ holds too few files: the rules below would hold for nothing"


@pytest.mark.parametrize("package", sorted(MAY_IMPORT))
def test_a_package_imports_only_what_it_may(package: str) -> None:
    assert forbidden_imports(package, MAY_IMPORT[package]) == []


def test_the_method_imports_nothing_of_ours() -> None:
    assert not MAY_IMPORT["cns"] & OURS
    for path in source_files("cns"):
        roots = {root for _, root in imported_roots(path.read_text(encoding="utf-8"), "cns")}
        assert not roots & (OURS - {"cns"}), path.name


def test_the_web_service_imports_nothing_heavy() -> None:
    found = [
        f"{path.relative_to(ROOT).as_posix()}:{line} imports {root}"
        for path in source_files("app")
        for line, root in imported_roots(path.read_text(encoding="utf-8"), "app")
        if root in NEVER_IN_APP
    ]
    assert found == []


def test_the_calls_of_the_demo_know_nothing_of_the_service() -> None:
    """They may be copied into a program that lies elsewhere."""
    source = (ROOT / "demo" / "rest.py").read_text(encoding="utf-8")
    assert {root for _, root in imported_roots(source, "demo")} <= STANDARD | {"httpx"}


def test_an_import_inside_a_function_is_seen() -> None:
    source = "def f():\n    from torch.nn import Linear\n    import os.path as p\n    from . import near\n"
    assert list(imported_roots(source, "app")) == [(2, "torch"), (3, "os"), (4, "app")]
