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


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
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
