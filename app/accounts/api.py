"""REST: who am I, API keys, and for administrators the users."""

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.accounts import service
from app.accounts.usage import usage_of
from app.deps import AdminUser, AppState, CurrentUser, Reading, Uow
from app.problems import OF_ADMINISTRATORS, described
from app.routing import rest_router

router = rest_router("account")


class Me(BaseModel):
    """The caller."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"id": "6f6f7f0e-37a1-4a9e-8f3a-0f2f3a1c9c11", "name": "ada", "is_admin": False}}
    )
    id: UUID
    name: str
    is_admin: bool


class NewKey(BaseModel):
    name: str = Field(min_length=1, max_length=60, examples=["my notebook"])


class KeyShown(BaseModel):
    """A key as it is listed: never the key itself."""

    model_config = ConfigDict(from_attributes=True)
    id: UUID
    name: str = Field(examples=["my notebook"])
    prefix: str = Field(examples=["pk_4fX9aQ2"])
    created_at: datetime
    last_used_at: datetime | None


class KeyMade(KeyShown):
    """A key just made. `key` is shown this once."""

    key: str = Field(examples=["pk_4fX9aQ2..."])


class Keys(BaseModel):
    items: list[KeyShown]


class NewUser(BaseModel):
    name: str = Field(examples=["grace"])
    password: str = Field(examples=["correct horse battery staple"])
    is_admin: bool = False


class UserShown(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: UUID
    name: str = Field(examples=["grace"])
    is_admin: bool
    created_at: datetime
    disabled_at: datetime | None
    quota_bytes: int | None = Field(description="Bytes they may keep; 0 for no limit, null for what everybody may.")


class Users(BaseModel):
    items: list[UserShown]


class UserChange(BaseModel):
    """What shall be different; whatever is left out stays."""

    disabled: bool | None = Field(None, description="Locked out: no log-in, no keys. What is theirs stays.")
    quota_bytes: int | None = Field(
        None, description="Bytes they may keep; 0 for no limit, null for what everybody may."
    )
    password: str | None = Field(None, description="A new password; every session of theirs ends.")


class UsageShown(BaseModel):
    """What the caller keeps here."""

    model_config = ConfigDict(from_attributes=True)
    histories: int
    versions: int
    images: int
    open_jobs: int = Field(description="Learnings and generations that wait or run.")
    bytes: int = Field(description="Of pictures and learned weights.", examples=[48_213_000])
    quota_bytes: int | None = Field(description="How many they may be; null for no limit.")


@router.get("/me", summary="Who am I")
def who_am_i(caller: CurrentUser) -> Me:
    """The user of the key or of the session."""
    return Me(id=caller.id, name=caller.name, is_admin=caller.is_admin)


@router.get("/usage", summary="What I keep")
def show_usage(caller: CurrentUser, session: Reading, state: AppState) -> UsageShown:
    """How much the caller keeps, and may keep."""
    return UsageShown.model_validate(usage_of(session, caller.id, state.settings.user_quota_bytes))


@router.get("/api-keys", summary="List API keys")
def list_api_keys(caller: CurrentUser, session: Reading) -> Keys:
    """The caller's keys that still open."""
    return Keys(items=[KeyShown.model_validate(row) for row in service.list_api_keys(session, caller.id)])


@router.post("/api-keys", status_code=201, summary="Make an API key")
def make_api_key(new: NewKey, caller: CurrentUser, uow: Uow) -> KeyMade:
    """Make a key. The answer is the only place where it is ever shown."""
    row, key = service.make_api_key(uow, caller.id, new.name)
    return KeyMade(**KeyShown.model_validate(row).model_dump(), key=key)


@router.delete("/api-keys/{key_id}", status_code=204, summary="Revoke an API key")
def revoke_api_key(key_id: UUID, caller: CurrentUser, uow: Uow) -> None:
    """The key opens nothing any more, at once."""
    service.revoke_api_key(uow, caller.id, key_id)


@router.get("/users", responses=described(403, examples=OF_ADMINISTRATORS))
def list_users(caller: AdminUser, session: Reading) -> Users:
    """Everybody. For administrators."""
    return Users(items=[UserShown.model_validate(row) for row in service.list_users(session)])


@router.post(
    "/users", status_code=201, summary="Let somebody in", responses=described(403, 409, examples=OF_ADMINISTRATORS)
)
def create_user(new: NewUser, caller: AdminUser, uow: Uow) -> UserShown:
    """Let somebody in. For administrators."""
    return UserShown.model_validate(service.create_user(uow, new.name, new.password, is_admin=new.is_admin))


@router.patch("/users/{user_id}", responses=described(403, 409, examples=OF_ADMINISTRATORS))
def change_user(user_id: UUID, change: UserChange, caller: AdminUser, uow: Uow) -> UserShown:
    """Lock somebody out or let them in again, set how much they may keep, give them a new password. For
    administrators.
    """
    user = service.change_user(
        uow,
        caller.id,
        user_id,
        disabled=change.disabled,
        password=change.password,
        quota_bytes=change.quota_bytes if "quota_bytes" in change.model_fields_set else ...,
    )
    return UserShown.model_validate(user)
