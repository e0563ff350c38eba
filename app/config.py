"""Every setting of the service, typed and read once, from the environment.

Each may also be given as NAME_FILE: the path of a file that holds the value, as container secrets are.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any

from limits import parse
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from sqlalchemy.engine import make_url

from app.bucket_address import read_bucket_url
from app.server_addresses import read_broker_url, read_database_url

MEGABYTE = 1_000_000


class Settings(BaseSettings):
    """Without any of them set, `make up` runs everything on this machine, under `var/`."""

    model_config = SettingsConfigDict(env_file=None, extra="ignore", frozen=True)

    database_url: str = Field(
        "postgresql+psycopg:///palimpsest",
        description="Where PostgreSQL is: `postgresql://name@host:5432/database`, or as SQLAlchemy writes it.",
        repr=False,
    )
    database_password: str = Field(
        "", description="Its password, where the address has none; meant to come from a file.", repr=False
    )
    redis_url: str = Field("redis://127.0.0.1:6379/0", description="Where Redis or Valkey is.", repr=False)
    blob_folder: Path = Field(
        Path("var/blobs"),
        description="Folder of pictures, learned weights, checkpoints and, in `thumbnails` below it, thumbnails; all "
        "processes share it, and other users of the machine are kept out.",
    )
    blob_url: str = Field(
        "",
        description="A bucket of an S3-compatible store in the place of that folder: `s3://bucket/prefix`. It exists "
        "already and keeps no versions, or what is erased would stay.",
    )
    blob_endpoint: str = Field(
        "", description="Where that store is, such as `http://minio:9000`; empty takes Amazon's, or `AWS_ENDPOINT_URL`."
    )
    blob_region: str = Field("", description="Its region; empty takes `AWS_REGION`.")
    blob_access_key: str = Field(
        "", description="Who asks it; empty takes `AWS_ACCESS_KEY_ID`, or the role of this machine.", repr=False
    )
    blob_secret_key: str = Field(
        "",
        description="The secret of that key; meant to come from a file; empty takes `AWS_SECRET_ACCESS_KEY`.",
        repr=False,
    )
    base_model: str = Field(
        "storybook", description="`storybook`, a diffusers folder, a hub id, or one .safetensors file."
    )
    device: str = Field("", description="`cpu`, `cuda`, `cuda:1`; empty takes a GPU where there is one.")

    public_url: str = Field("", description="The address people type; empty takes the one of each request.")
    publish: str = Field(
        "",
        description="With compose, the port of this machine at which the pages are, or its address and port, such as "
        "`127.0.0.1:9000`; compose itself takes `127.0.0.1:8000` for an empty one.",
    )
    behind_tls: bool = Field(False, description="Cookies travel over HTTPS only, and browsers are told so.")
    forwarded_allow_ips: str = Field(
        "127.0.0.1",
        description="Proxies, by their addresses or networks with commas, that are believed about who asks and how; "
        "`*` for any. [The page about proxies](proxy.md) says which it is with compose.",
    )
    session_days: int = Field(30, ge=1, description="Days after which a browser must log in again.")
    login_rate: str = Field(
        "10/minute",
        description="Log-in attempts from one address; all addresses together have ten times as many for one name, and "
        "a browser in which that name has logged in before has as many of its own.",
    )
    api_rate: str = Field("600/minute", description="Requests of one user over REST.")
    start_rate: str = Field("120/minute", description="Learnings and generations that one user may ask for.")

    max_files: int = Field(20, ge=1, description="Pictures of one concept, at most.")
    max_file_bytes: int = Field(20 * MEGABYTE, ge=1, description="Size of one uploaded file, at most, in bytes.")
    max_pixels: int = Field(50_000_000, ge=1, description="Pixels of one uploaded picture, at most.")
    user_quota_bytes: int = Field(
        20_000 * MEGABYTE,
        ge=0,
        description="Bytes of pictures and learned weights that one user may keep, where an administrator set no other "
        "number; 0 for no limit.",
    )
    max_open_jobs: int = Field(200, ge=1, description="Jobs of one user that wait or run at the same time, at most.")
    max_images: int = Field(16, ge=1, description="Pictures that one generation may ask for.")
    max_side_px: int = Field(1024, ge=64, description="Longest side of a generated picture, in pixels.")

    lease_s: float = Field(30, gt=0, description="Seconds without a heartbeat after which a job is taken back.")
    heartbeat_s: float = Field(5, gt=0, description="Seconds between two heartbeats of a worker.")
    sweep_s: float = Field(5, gt=0, description="Seconds between two sweeps for lost messages and expired leases.")
    checkpoint_s: float = Field(30, gt=0, description="Seconds of learning between two checkpoints.")
    max_attempts: int = Field(3, ge=1, description="Times a job is begun before it counts as failed.")
    learning_share: float = Field(
        0.5, gt=0, lt=1, description="Share of the device's time that learning gets while pictures are waiting."
    )
    learning_rows: int | None = Field(
        None,
        ge=0,
        description="Rows of one UNet call in which learnings take their steps together, at most; 0: each goes by "
        "itself, and its bytes depend on nobody else. Empty: 64 on a GPU, 0 on a CPU.",
    )
    batch_rows: int = Field(
        32,
        ge=1,
        description="Rows of one UNet call, at most, where measured time and memory allow as many; a guided picture "
        "takes two.",
    )
    compile_step: str = Field(
        "off",
        pattern="^(off|auto)$",
        description="`auto`: denoising steps that come often are compiled by a process of its own while pictures are "
        "made as ever, and used where they give the same answers but for rounding and were measured to be faster. "
        "Needs a C++ compiler.",
    )
    version_cache_bytes: int = Field(
        1000 * MEGABYTE,
        ge=0,
        description="Bytes of the device's memory for composed weights of versions, which later versions are made of.",
    )
    prompt_cache_bytes: int = Field(
        500 * MEGABYTE,
        ge=0,
        description="Bytes of the device's memory for K and V of prompts, which are computed once for each version.",
    )
    worker_threads: int = Field(16, ge=2, description="Jobs that one worker keeps in hand at the same time.")

    log_format: str = Field("plain", pattern="^(plain|json)$", description="`plain` lines or `json`, one per event.")
    log_level: str = Field(
        "INFO", pattern="(?i)^(debug|info|warning|error|critical)$", description="The least level that is written."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What it is called with and no more: `read_settings` alone looks at the environment."""
        return (init_settings,)

    @model_validator(mode="before")
    @classmethod
    def _put_password_into_address(cls, given: dict[str, Any]) -> dict[str, Any]:
        """So that nobody needs to know that there are two of them."""
        if (password := given.get("database_password")) and given.get("database_url"):
            with suppress(ValueError):  # an address that is none is told of when it is read as one
                address = make_url(read_database_url(given["database_url"]))
                if address.password is None:
                    whole = address.set(password=password).render_as_string(hide_password=False)
                    given = {**given, "database_url": whole}
        return given

    @field_validator("database_url")
    @classmethod
    def _check_database(cls, url: str) -> str:
        return read_database_url(url)

    @field_validator("redis_url")
    @classmethod
    def _check_broker(cls, url: str) -> str:
        return read_broker_url(url)

    @field_validator("login_rate", "api_rate", "start_rate")
    @classmethod
    def _check_rate(cls, rate: str) -> str:
        try:
            parse(rate)
        except ValueError:
            raise ValueError(f"{rate!r} is no rate; one is written 10/minute or 600/hour") from None
        return rate

    @field_validator("learning_rows", mode="before")
    @classmethod
    def _read_empty(cls, rows: Any) -> Any:
        """An empty variable is how an environment says that nothing was chosen."""
        return None if rows == "" else rows

    @field_validator("blob_url")
    @classmethod
    def _check_bucket(cls, url: str) -> str:
        if url:
            read_bucket_url(url)
        return url

    @model_validator(mode="after")
    def _check_beats(self) -> "Settings":
        if self.heartbeat_s * 2 > self.lease_s:
            raise ValueError(
                "LEASE_S must be at least twice HEARTBEAT_S, or jobs are taken from workers that are alive"
            )
        return self

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.lease_s)


def variables() -> set[str]:
    """Every variable of an environment that says something to the service."""
    return {variable for name in Settings.model_fields for variable in (name.upper(), f"{name.upper()}_FILE")}


def with_secret_files(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment's values for our settings, where NAME_FILE stands for the content of a file."""
    found: dict[str, str] = {}
    for name in Settings.model_fields:
        variable = name.upper()
        if file := environment.get(f"{variable}_FILE"):
            found[name] = Path(file).read_text(encoding="utf-8").strip()
        elif value := environment.get(variable):  # empty is not set, as in a compose file that passes it on
            found[name] = value
    return found


class WrongSettings(Exception):
    """A value cannot be used; the sentence names its variable."""


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """The settings that `environment`, or this process' own, describes. Raises WrongSettings."""
    try:
        return Settings(**with_secret_files(os.environ if environment is None else environment))  # type: ignore[arg-type]
    except ValidationError as error:
        found = "; ".join(_sentence(one["loc"], one["msg"]) for one in error.errors())
        raise WrongSettings(f"The settings cannot be used. {found}.") from None
    except OSError as error:
        raise WrongSettings(f"A file that a setting names cannot be read: {error}.") from None


def _sentence(place: tuple[int | str, ...], message: str) -> str:
    message = message.removeprefix("Value error, ")
    return f"{str(place[0]).upper()}: {message}" if place else message


@cache
def settings() -> Settings:
    """The settings of this process."""
    return read_settings()
