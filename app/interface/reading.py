"""An OpenAPI description, told so that a person can read it: fields, examples, calls to copy."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from app.calls import Call, json_call, learning_call
from app.interface.schema import operations

Schema = dict[str, Any]
PREFIX = "/api/v1"
EXAMPLE_ID = "0b4d5a5e-8a43-4f0e-9d2a-6a1c9d1f2e11"
DEEPEST = 6  # no example is nested further; one that is refers to itself


@dataclass(frozen=True)
class Field:
    """One value of a request. kind: its type in a word or two, with its limits."""

    name: str
    where: str
    kind: str
    is_required: bool
    said: str


@dataclass(frozen=True)
class Answer:
    """status: as text. example: what comes back, as it is written; empty for what is no text."""

    status: str
    said: str
    media_type: str
    example: str


@dataclass(frozen=True)
class Refusal:
    """An error that may come instead. said: what its `detail` says, for example."""

    status: str
    title: str
    said: str


@dataclass(frozen=True)
class Operation:
    """One thing that can be asked for."""

    id: str
    method: str
    path: str
    title: str
    said: str
    fields: Sequence[Field]
    answers: Sequence[Answer]
    refusals: Sequence[Refusal]
    call: Call


def read(schema: Schema, site: str) -> dict[str, list[Operation]]:
    """Operations by tag, in the order of the description. site: where calls go, such as https://example.org."""
    found: dict[str, list[Operation]] = {}
    for path, method, operation in operations(schema):
        found.setdefault(operation["tags"][0], []).append(_operation(schema, site, path, method, operation))
    return found


def _operation(schema: Schema, site: str, path: str, method: str, operation: Schema) -> Operation:
    kind, body = _body(schema, operation)
    fields = [_parameter(schema, one) for one in operation.get("parameters", ())]
    if body:
        fields += _fields(schema, body, "form" if kind == "multipart/form-data" else "body")
    answers = [_answer(schema, status, one) for status, one in operation["responses"].items() if status[0] in "23"]
    return Operation(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        title=_title(operation),
        said=operation.get("description", ""),
        fields=fields,
        answers=answers,
        refusals=[_refusal(status, one) for status, one in operation["responses"].items() if status[0] == "4"],
        call=_call(schema, site, path, method, operation, kind, body),
    )


def _body(schema: Schema, operation: Schema) -> tuple[str, Schema | None]:
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        return kind, _resolved(schema, content["schema"])
    return "", None


def _call(schema: Schema, site: str, path: str, method: str, operation: Schema, kind: str, body: Schema | None) -> Call:
    for one in operation.get("parameters", ()):
        if one["in"] == "path":
            path = path.replace("{" + one["name"] + "}", str(example_of(schema, one["schema"])))
    path = path.removeprefix(PREFIX) + _query(schema, operation)
    if kind == "multipart/form-data" and body:
        needed = [name for name in body["required"] if body["properties"][name].get("type") == "string"]
        fields = {name: str(example_of(schema, body["properties"][name])) for name in needed}
        return learning_call(site, path, fields, ["first.jpg", "second.jpg", "third.jpg"])
    example = example_of(schema, body) if body else None
    return json_call(_title(operation), site, method.upper(), path, example if isinstance(example, Mapping) else None)


def _query(schema: Schema, operation: Schema) -> str:
    """What cannot be left out of the address."""
    needed = {
        one["name"]: example_of(schema, one["schema"])
        for one in operation.get("parameters", ())
        if one["in"] == "query" and one.get("required")
    }
    return f"?{urlencode(needed, doseq=True)}" if needed else ""


def _title(operation: Schema) -> str:
    """Made from a function's name, each word has a capital; one that somebody wrote stays as it is."""
    said: str = operation["summary"]
    return said.capitalize() if said == said.title() else said


def _parameter(schema: Schema, one: Schema) -> Field:
    said = one.get("description", "")
    return Field(one["name"], one["in"], kind_of(schema, one["schema"]), one.get("required", False), said)


def _fields(schema: Schema, body: Schema, where: str) -> list[Field]:
    return [
        Field(name, where, kind_of(schema, one), name in body.get("required", ()), one.get("description", ""))
        for name, one in body.get("properties", {}).items()
    ]


def _answer(schema: Schema, status: str, response: Schema) -> Answer:
    for media_type, content in response.get("content", {}).items():
        example = ""
        if "json" in media_type and "schema" in content:
            value = content.get("example", example_of(schema, content["schema"]))
            example = json.dumps(value, indent=2, ensure_ascii=False)
        said = response["description"]
        return Answer(status, "" if said == "Successful Response" else said, media_type, example)
    return Answer(status, "Nothing to read.", "", "")


def _refusal(status: str, response: Schema) -> Refusal:
    contents: list[Schema] = list(response.get("content", {}).values())
    example = contents[0].get("example", {}) if contents else {}
    return Refusal(status, response["description"], example.get("detail", ""))


# --- schemas -------------------------------------------------------------------------------------------------------


def _resolved(schema: Schema, one: Schema) -> Schema:
    """What a reference refers to, without the "or nothing" of optional values."""
    if "$ref" in one:
        return _resolved(schema, schema["components"]["schemas"][one["$ref"].rpartition("/")[2]])
    if "anyOf" in one:
        said = [other for other in one["anyOf"] if other.get("type") != "null"]
        rest = {name: value for name, value in one.items() if name != "anyOf"}
        return {**_resolved(schema, said[0]), **rest}
    return one


def kind_of(schema: Schema, one: Schema) -> str:
    """ "whole number, 1 to 200", "text", "list of files"."""
    found = _resolved(schema, one)
    if "enum" in found:
        return " or ".join(json.dumps(value) for value in found["enum"])
    if found.get("type") == "array":
        kind, comma, limits = kind_of(schema, found["items"]).partition(",")
        return f"list of {kind}s{comma}{limits}"
    if found.get("contentMediaType") or found.get("format") == "binary":
        return "file"
    name = {"integer": "whole number", "number": "number", "boolean": "true or false", "object": "object"}
    kind = "id" if found.get("format") == "uuid" else name.get(found.get("type", ""), "text")
    return kind + _limits(found)


def _limits(found: Schema) -> str:
    low = found.get("minimum", found.get("minLength"))
    high = found.get("maximum", found.get("maxLength"))
    unit = " characters" if "minLength" in found or "maxLength" in found else ""
    if low is not None and high is not None:
        return f", {low:g} to {high:g}{unit}"
    if high is not None:
        return f", at most {high:g}{unit}"
    if low is not None:
        return f", at least {low:g}{unit}"
    return ""


def example_of(schema: Schema, one: Schema, depth: int = 0) -> object:
    """A value that fits: the one that the description gives, or one put together from its parts'."""
    found = _resolved(schema, one)
    if "example" in found:
        return found["example"]
    if found.get("examples"):
        return found["examples"][0]
    if found.get("default") is not None:
        return found["default"]
    if "enum" in found:
        return found["enum"][0]
    kind = found.get("type")
    if kind == "object":
        if depth >= DEEPEST:
            return {}
        parts = found.get("properties", {})
        return {name: example_of(schema, part, depth + 1) for name, part in parts.items()}
    if kind == "array":
        return [] if depth >= DEEPEST else [example_of(schema, found["items"], depth + 1)]
    by_format = {"uuid": EXAMPLE_ID, "date-time": "2026-11-23T10:00:00Z"}
    if found.get("format") in by_format:
        return by_format[found["format"]]
    return {"integer": 1, "number": 1.0, "boolean": False}.get(str(kind), "...")
