"""The description of the REST interface is written down, and says what there is."""

from typing import Any

import pytest

from app.openapi import FILE, as_text, describe


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    return describe()


def operations(description: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]


def test_the_written_description_is_the_one_of_this_code(description: dict[str, Any]) -> None:
    assert FILE.read_text(encoding="utf-8") == as_text(description), "docs/openapi.json is stale: run `make openapi`."


def test_every_operation_says_what_it_does_under_a_name_of_its_own(description: dict[str, Any]) -> None:
    found = operations(description)
    assert all(operation.get("description") for _, operation in found)
    names = [operation["operationId"] for _, operation in found]
    assert len(names) == len(set(names))


def test_pages_and_probes_are_no_part_of_it(description: dict[str, Any]) -> None:
    assert all(path.startswith("/api/v1/") for path in description["paths"])


def test_errors_are_described_as_problem_details_with_an_example(description: dict[str, Any]) -> None:
    for name, operation in operations(description):
        for status in ("401", "404", "422", "429"):
            content = operation["responses"][status]["content"]["application/problem+json"]
            assert content["example"]["status"] == int(status), name


def test_what_is_answered_has_an_example(description: dict[str, Any]) -> None:
    """An object by itself, by its fields, or by what it lists; files have none."""
    schemas = description["components"]["schemas"]

    def has_example(schema: dict[str, Any]) -> bool:
        if "$ref" in schema:
            schema = schemas[schema["$ref"].rpartition("/")[2]]
        fields = schema.get("properties", {})
        listed = fields.get("items", {}).get("items")
        return (
            "example" in schema
            or any("examples" in one for one in fields.values())
            or (listed is not None and has_example(listed))
        )

    without = [
        f"{name} {status}"
        for name, operation in operations(description)
        for status in ("200", "201", "202")
        if (content := operation["responses"].get(status, {}).get("content", {}).get("application/json", {}))
        and not has_example(content["schema"])
    ]
    assert without == []
