"""Whether the concepts of a picture keep apart: asked for over REST and in the studio, and told with the request."""

import html

import pytest
from alembic import command
from sqlalchemy import Engine, text

from app.db import Sessions, make_engine
from app.generations.models import Generation
from app.migrate import alembic_config, migrate
from app.servers import Servers
from app.storage import BlobStore
from tests.app.person import Person
from tests.app.test_regions import browse, make_image, send


def test_they_keep_apart_unless_it_is_said_that_they_may_mix(ada: Person) -> None:
    path = f"/histories/{ada.history_id}/generations"
    for said, kept in (({}, True), ({"apart": True}, True), ({"apart": False}, False)):
        made = ada.ask("POST", path, json={"prompt": "a mug", **said})
        assert made.status_code == 202, made.text
        assert ada.ask("GET", f"/generations/{made.json()['id']}").json()["apart"] is kept
    assert ada.ask("POST", path, json={"prompt": "a mug", "apart": "sometimes"}).status_code == 422


@pytest.mark.parametrize(("typed", "kept"), [({}, True), ({"apart": "yes"}, True), ({"apart": "no"}, False)])
def test_the_studio_asks_and_tells(ada: Person, sessions: Sessions, typed: dict[str, str], kept: bool) -> None:
    assert send(ada, **typed).status_code == 303
    with sessions() as session:
        assert session.query(Generation).one().apart is kept
    page = html.unescape(browse(ada, "GET", f"/histories/{ada.history_id}").text)
    assert ('"apart": false' in page) is not kept  # in the call that asks for the same pictures
    assert ("<dt>Concepts</dt><dd>may mix</dd>" in page) is not kept


def test_all_settings_of_a_picture_include_the_choice(ada: Person, sessions: Sessions, store: BlobStore) -> None:
    path = f"/histories/{ada.history_id}/generations"
    for kept in (True, False):
        asked = ada.ask("POST", path, json={"prompt": "a mug", "apart": kept}).json()
        picture = make_image(sessions, store, asked["id"])
        page = browse(ada, "GET", f"/histories/{ada.history_id}?from={picture}").text
        assert ('<option value="no" selected>' in page) is not kept
        told = html.unescape(browse(ada, "GET", f"/images/{picture}").text)
        assert ('"apart": false' in told, "<dd>may mix</dd>" in told) == (not kept, not kept)


def test_a_form_that_is_refused_keeps_the_choice(ada: Person) -> None:
    page = send(ada, apart="no", steps="0")
    assert page.status_code == 422
    assert '<option value="no" selected>' in page.text


_ASKED_BEFORE = (
    "INSERT INTO users (id, name, password_hash, is_admin) VALUES (md5('ada')::uuid, 'ada', '-', false)",
    "INSERT INTO base_models (id, source, facts) VALUES ('b', 'storybook', '{}')",
    "INSERT INTO histories (id, owner_id, base_id, name) VALUES (md5('pets')::uuid, md5('ada')::uuid, 'b', 'pets')",
    """
    INSERT INTO jobs (id, owner_id, history_id, kind, state, settings, attempt, times_lost, max_attempts,
                      cancel_requested, stage, step, steps_total, progress)
    VALUES (md5('old')::uuid, md5('ada')::uuid, md5('pets')::uuid, 'generate', 'done', '{}', 1, 0, 3, false, '', 0, 0,
            '{}')
    """,
    """
    INSERT INTO generations (id, history_id, job_id, prompt, negative_prompt, seed, count, steps, guidance, sampler,
                             width_px, height_px)
    VALUES (md5('old')::uuid, md5('pets')::uuid, md5('old')::uuid, 'a mug', '', 1, 1, 4, 4, 'ddim', 64, 64)
    """,
)


def test_pictures_from_before_are_known_to_have_mixed(servers: Servers, engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(text("DROP DATABASE IF EXISTS from_mixed"))
        connection.execute(text("CREATE DATABASE from_mixed"))
    url = servers.database_url.replace("/palimpsest?", "/from_mixed?")
    command.upgrade(alembic_config(url), "0010")
    other = make_engine(url)
    with other.begin() as connection:
        for statement in _ASKED_BEFORE:
            connection.execute(text(statement))
    migrate(url)
    with other.begin() as connection:
        assert connection.execute(text("SELECT apart FROM generations")).scalar_one() is False
    other.dispose()
