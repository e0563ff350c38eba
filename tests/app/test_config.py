"""Settings: from the environment, from files, with sentences where they cannot be used."""

from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from app.config import Settings, WrongSettings, read_settings
from app.describe_settings import FILE, describe


def test_nothing_has_to_be_set() -> None:
    assert read_settings({}) == Settings()


def test_an_empty_variable_counts_as_none() -> None:
    assert read_settings({"BASE_MODEL": "", "DEVICE": ""}).base_model == "storybook"


def test_only_the_environment_that_is_given_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASE_MODEL", "something else")
    assert read_settings({}).base_model == "storybook"


def test_a_password_from_a_file_is_put_into_the_address(tmp_path: Path) -> None:
    secret, text = tmp_path / "password", "with/signs:that@mean something"
    secret.write_text(f"{text}\n")
    found = read_settings(
        {"DATABASE_URL": "postgresql+psycopg://p@db/palimpsest", "DATABASE_PASSWORD_FILE": str(secret)}
    )
    assert make_url(found.database_url).password == text
    assert "mean" not in repr(found)


def test_a_password_in_the_address_is_left_as_it_is() -> None:
    found = read_settings({"DATABASE_URL": "postgresql+psycopg://p:a@db/palimpsest", "DATABASE_PASSWORD": "b"})
    assert found.database_url == "postgresql+psycopg://p:a@db/palimpsest"


@pytest.mark.parametrize("written", ["postgres", "postgresql", "postgresql+psycopg"])
@pytest.mark.parametrize("password", ["", "a"])
def test_a_database_may_be_written_as_hosts_hand_it_out(written: str, password: str) -> None:
    found = read_settings({"DATABASE_URL": f"{written}://p@db:5432/x?sslmode=require", "DATABASE_PASSWORD": password})
    read = make_url(found.database_url)
    assert (read.drivername, read.host, read.port, read.database) == ("postgresql+psycopg", "db", 5432, "x")
    assert (read.username, read.password or "", read.query) == ("p", password, {"sslmode": "require"})


@pytest.mark.parametrize("url", ["redis://:a@r:6379/0", "rediss://r", "unix:///run/broker.sock?db=1"])
def test_a_broker_is_left_as_it_is_written(url: str) -> None:
    assert read_settings({"REDIS_URL": url}).redis_url == url


@pytest.mark.parametrize(
    "url", ["db:5432/x", "mysql://p:SECRET@db/x", "postgres://p:SECRET@db:no/x", "postgresql+no://db/x"]
)
@pytest.mark.parametrize("password", ["", "SECRET"])
def test_an_address_that_is_no_databases_is_a_sentence_without_its_password(url: str, password: str) -> None:
    with pytest.raises(WrongSettings, match="DATABASE_URL: a database is written postgresql://") as caught:
        read_settings({"DATABASE_URL": url, "DATABASE_PASSWORD": password})
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("REDIS_URL", "localhost:6379", "REDIS_URL: a broker is written redis://"),
        ("REDIS_URL", "redis://localhost:no", "REDIS_URL: a broker is written redis://"),
        ("REDIS_URL", "unix://", "REDIS_URL: a broker is written redis://"),
        ("LOGIN_RATE", "often", "LOGIN_RATE: 'often' is no rate"),
        ("LEARNING_SHARE", "1", "LEARNING_SHARE: Input should be less than 1"),
        ("LOG_LEVEL", "loud", "LOG_LEVEL: "),
        ("HEARTBEAT_S", "20", "LEASE_S must be at least twice HEARTBEAT_S"),
        ("DATABASE_PASSWORD_FILE", "nowhere/at/all", "A file that a setting names cannot be read"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(variable: str, value: str, sentence: str) -> None:
    with pytest.raises(WrongSettings, match=sentence):
        read_settings({variable: value})


def test_the_page_about_the_settings_is_as_the_code_says() -> None:
    assert FILE.read_text(encoding="utf-8") == describe(), "run `make configuration`"


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
