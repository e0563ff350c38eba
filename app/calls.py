"""The calls that a program would make for what a page just did, ready to be copied."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Call:
    """One request over REST, in two languages. said: what it does, in a few words."""

    said: str
    curl: str
    python: str


def json_call(said: str, site: str, method: str, path: str, body: Mapping[str, object] | None = None) -> Call:
    """A request with a JSON body or none."""
    url = f"{site}/api/v1{path}"
    lines = [f"curl -X {method} {shlex.quote(url)}", '-H "Authorization: Bearer $PALIMPSEST_KEY"']
    arguments = [repr(url), "headers=headers"]
    if body is not None:
        lines += ["-H 'Content-Type: application/json'", f"-d {shlex.quote(json.dumps(body, ensure_ascii=False))}"]
        arguments.insert(1, f"json={_literal(body)}")
    return Call(said, _continued(lines), _python(f"httpx.{method.lower()}({', '.join(arguments)})"))


def learning_call(site: str, path: str, fields: Mapping[str, str], files: list[str]) -> Call:
    """The request that teaches a concept: a form with files."""
    url = f"{site}/api/v1{path}"
    lines = [f"curl {shlex.quote(url)}", '-H "Authorization: Bearer $PALIMPSEST_KEY"']
    lines += [f"-F {shlex.quote(f'{name}={value}')}" for name, value in fields.items()]
    lines += [f"-F {shlex.quote(f'pictures=@{name}')}" for name in files]
    opened = ", ".join(f'("pictures", open({name!r}, "rb"))' for name in files)
    asked = f"httpx.post({url!r}, headers=headers,\n    data={_literal(fields)},\n    files=[{opened}])"
    return Call("Teach this concept", _continued(lines), _python(asked))


def _continued(lines: list[str]) -> str:
    return " \\\n  ".join(lines)


def _python(asked: str) -> str:
    opening = 'import os, httpx\n\nheaders = {"Authorization": "Bearer " + os.environ["PALIMPSEST_KEY"]}\n'
    return f"{opening}answer = {asked}\nprint(answer.json())"


def _literal(values: Mapping[str, object]) -> str:
    """A dictionary as one writes it in Python, with double quotes where that changes nothing."""
    return "{" + ", ".join(f"{json.dumps(name)}: {_value(value)}" for name, value in values.items()) + "}"


def _value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
