"""The description of the REST interface: complete for programs, readable for people, and its calls are true."""

import html
from collections import Counter

from fastapi.testclient import TestClient

from app.interface.reading import read
from app.interface.schema import operations
from app.problems import MEDIA_TYPE


def test_the_description_says_how_to_be_let_in_and_how_errors_look(client: TestClient) -> None:
    schema = client.get("/api/openapi.json").json()
    assert schema["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    assert len(list(operations(schema))) > 35
    for path, method, operation in operations(schema):
        refused = operation["responses"]["404"]["content"]
        assert list(refused) == [MEDIA_TYPE], f"{method} {path}"
        assert refused[MEDIA_TYPE]["schema"]["$ref"].endswith("/Problem")


def test_operations_have_names_of_their_own(client: TestClient) -> None:
    schema = client.get("/api/openapi.json").json()
    names = Counter(operation["operationId"] for _, _, operation in operations(schema))
    assert [name for name, count in names.items() if count > 1] == []
    assert "teach" in names


def test_the_page_shows_every_operation_to_anybody(client: TestClient) -> None:
    schema = client.get("/api/openapi.json").json()
    page = client.get("/api/docs")
    assert page.status_code == 200
    for path, _, operation in operations(schema):
        assert f'id="{operation["operationId"]}"' in page.text
        assert path in page.text


def test_the_page_says_which_errors_may_come_instead(client: TestClient) -> None:
    tags = read(client.get("/api/openapi.json").json(), "https://example.org")
    [teach] = [one for one in tags["concepts"] if one.id == "teach"]
    assert {refusal.status for refusal in teach.refusals} == {"401", "403", "404", "409", "413", "422", "429"}
    page = client.get("/api/docs").text
    for refusal in teach.refusals:
        assert refusal.said.partition("`")[0] in html.unescape(page)


def test_examples_are_calls_that_can_be_sent(client: TestClient) -> None:
    tags = read(client.get("/api/openapi.json").json(), "https://example.org")
    found = {one.id: one for group in tags.values() for one in group}
    assert "https://example.org/api/v1/histories" in found["list_histories"].call.curl
    assert "-F name=rex" in found["teach"].call.curl
    assert "{" not in found["get_history"].call.curl.partition("-H")[0]
    assert "/images.zip?id=" in found["download_zip"].call.curl  # what cannot be left out is not
    assert "/events?job=" in found["stream_several"].call.python
    needed = {field.name for field in found["teach"].fields if field.is_required}
    assert needed == {"history_id", "name", "class_noun", "pictures"}
    for one in found.values():
        compile(one.call.python, one.id, "exec")
