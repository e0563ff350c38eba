"""The OpenAPI description, with what the framework cannot know by itself."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from app.problems import REFERENCES, Problem

HTTP_METHODS = ("get", "post", "put", "patch", "delete")
KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, made on the account page: `Authorization: Bearer pk_...`.",
}


def install(app: FastAPI) -> None:
    """Let `app.openapi()` answer with the completed description."""
    made_by_framework = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = complete(made_by_framework())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def complete(schema: dict[str, Any]) -> dict[str, Any]:
    """How to be let in, and what problem details are."""
    components = schema["components"]
    problem = Problem.model_json_schema(ref_template=REFERENCES)
    models = {**components["schemas"], **problem.pop("$defs"), Problem.__name__: problem}
    components["schemas"] = {name: models[name] for name in sorted(models)}
    components["securitySchemes"] = {"key": KEY}
    schema["security"] = [{"key": []}]
    return schema


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(path, method, operation) of everything that can be asked."""
    for path, methods in schema["paths"].items():
        for method in HTTP_METHODS:
            if method in methods:
                yield path, method, methods[method]
