"""The OpenAPI description, with what the framework cannot know by itself."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from app.problems import MEDIA_TYPE

HTTP_METHODS = ("get", "post", "put", "patch", "delete")
KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "An API key, made on the account page: `Authorization: Bearer pk_...`.",
}

PROBLEM = {"$ref": "#/components/schemas/Problem"}


def install(app: FastAPI) -> None:
    """Let `app.openapi()` answer with the completed description."""
    made_by_framework = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = complete(made_by_framework())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def complete(schema: dict[str, Any]) -> dict[str, Any]:
    """How to be let in, and that errors are problem details."""
    schema["components"]["securitySchemes"] = {"key": KEY}
    schema["security"] = [{"key": []}]
    for _, _, operation in operations(schema):
        for response in operation["responses"].values():
            content = response.get("content", {})
            if MEDIA_TYPE in content:
                response["content"] = {MEDIA_TYPE: {"schema": PROBLEM, **content[MEDIA_TYPE]}}
    return schema


def operations(schema: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(path, method, operation) of everything that can be asked."""
    for path, methods in schema["paths"].items():
        for method in HTTP_METHODS:
            if method in methods:
                yield path, method, methods[method]
