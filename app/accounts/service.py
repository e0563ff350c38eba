"""Accounts: the first administrator, logging in and out, passwords, sessions, API keys, other users."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from types import EllipsisType
from uuid import UUID

from sqlalchemy import Connection, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from app.accounts.caller import Caller
from app.accounts.models import ApiKey, LoginSession, SetupLink, User
from app.db import UnitOfWork
from app.errors import Conflict, Invalid, NotFound, Unauthorized
from app.security import KEY_PREFIX, digest_of, hash_password, new_api_key, new_token, password_fits, same
from app.texts import one_line

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,59}")
LARGEST_QUOTA_BYTES = 2**62
LONGEST_KEY_NAME = 60
SEEN_EVERY = timedelta(minutes=1)  # a session's "last seen" is no finer, so that reading does not write each time


def now() -> datetime:
    return datetime.now(UTC)


# --- the first administrator ---------------------------------------------------------------------------------------


def make_setup_link(uow: UnitOfWork) -> str | None:
    """The token of a new one-time link, in place of an older one; None when there are users already."""
    with uow:
        if uow.session.scalar(select(func.count()).select_from(User)):
            return None
        token = new_token()
        made = insert(SetupLink).values(id=1, token_sha256=digest_of(token))
        uow.session.execute(made.on_conflict_do_update(index_elements=["id"], set_={"token_sha256": digest_of(token)}))
        uow.commit()
        return token


def setup_is_open(session: Session, token: str) -> bool:
    """Whether that link still makes the first administrator."""
    link = session.get(SetupLink, 1)
    return link is not None and same(link.token_sha256, digest_of(token))


def waits_for_first(session: Session) -> bool:
    """Whether the first administrator is still to come: a link was made, and nobody has spent it."""
    return session.get(SetupLink, 1) is not None


def set_up(uow: UnitOfWork, token: str, name: str, password: str) -> User:
    """Make the first administrator and spend the link. NotFound when the link is not, or no longer, valid."""
    with uow:
        link = uow.session.get(SetupLink, 1, with_for_update=True)
        if link is None or not same(link.token_sha256, digest_of(token)):
            raise NotFound(
                "This link has been used, or a newer one was printed. The server's start shows the valid one."
            )
        user = _new_user(name, password, is_admin=True)
        uow.session.add(user)
        uow.session.delete(link)
        uow.commit()
        return user


# --- logging in and out --------------------------------------------------------------------------------------------


def user_called(session: Session, name: str) -> User | None:
    """Whoever logs in by that name; its case does not matter, nor does space around it."""
    return session.scalar(select(User).where(func.lower(User.name) == name.strip().lower()))


def log_in(uow: UnitOfWork, name: str, password: str, *, days: int, user_agent: str = "") -> tuple[User, str]:
    """The user and the token of a new session. Unauthorized, always in the same words, when either is wrong."""
    with uow:
        user = user_called(uow.session, name)
        fits = password_fits(password, user.password_hash if user else None)
        if user is None or not fits or user.disabled_at is not None:
            raise Unauthorized("Name or password is wrong.")
        token = new_token()
        uow.session.add(
            LoginSession(
                user_id=user.id,
                token_sha256=digest_of(token),
                csrf_token=new_token(),
                user_agent=user_agent[:200],
                expires_at=now() + timedelta(days=days),
            )
        )
        uow.commit()
        return user, token


# Every request asks one of these two. They are put together once, and of tables and not of rows of ours, which more
# than halves what they cost the web process.
_USERS, _LOGINS, _KEYS = User.__table__.c, LoginSession.__table__.c, ApiKey.__table__.c
_BY_SESSION = (
    select(_USERS.id, _USERS.name, _USERS.is_admin, _LOGINS.id, _LOGINS.csrf_token, _LOGINS.last_seen_at)
    .join_from(LoginSession.__table__, User.__table__, _USERS.id == _LOGINS.user_id)
    .where(
        _LOGINS.token_sha256 == bindparam("digest"),
        _LOGINS.expires_at > func.now(),
        _USERS.disabled_at.is_(None),
    )
)
_BY_API_KEY = (
    select(_USERS.id, _USERS.name, _USERS.is_admin, _KEYS.id, _KEYS.last_used_at)
    .join_from(ApiKey.__table__, User.__table__, _USERS.id == _KEYS.user_id)
    .where(_KEYS.key_sha256 == bindparam("digest"), _KEYS.revoked_at.is_(None), _USERS.disabled_at.is_(None))
)


def find_by_session(session: Session | Connection, token: str) -> Caller | None:
    """The caller whose browser has that cookie; None when the session is over or its user disabled."""
    row = session.execute(_BY_SESSION, {"digest": digest_of(token)}).one_or_none()
    if row is None:
        return None
    user_id, name, is_admin, login_id, csrf_token, seen_at = row
    if now() - seen_at > SEEN_EVERY:
        # By statement: where the session is revoked at this moment, no row changes, and that is no error.
        session.execute(update(LoginSession).where(LoginSession.id == login_id).values(last_seen_at=func.now()))
        session.commit()
    return Caller(user_id, name, is_admin, login_id, csrf_token)


def find_by_api_key(session: Session | Connection, key: str) -> Caller | None:
    """The caller whose program has that key; None when it was revoked or its user disabled."""
    if not key.startswith(KEY_PREFIX):
        return None
    row = session.execute(_BY_API_KEY, {"digest": digest_of(key)}).one_or_none()
    if row is None:
        return None
    user_id, name, is_admin, key_id, used_at = row
    if used_at is None or now() - used_at > SEEN_EVERY:
        session.execute(update(ApiKey).where(ApiKey.id == key_id).values(last_used_at=func.now()))
        session.commit()
    return Caller(user_id, name, is_admin)


def log_out(uow: UnitOfWork, session_id: UUID) -> None:
    with uow:
        uow.session.execute(delete(LoginSession).where(LoginSession.id == session_id))
        uow.commit()


def change_password(uow: UnitOfWork, user_id: UUID, old: str, new: str, keep_session: UUID | None = None) -> None:
    """Set a new password and end every other session: whoever knew the old one is out."""
    with uow:
        user = uow.session.get_one(User, user_id)
        if not password_fits(old, user.password_hash):
            raise Invalid("The present password is wrong.", field="old_password")
        user.password_hash = hash_password(new)
        uow.session.execute(
            delete(LoginSession).where(LoginSession.user_id == user_id, LoginSession.id.is_distinct_from(keep_session))
        )
        uow.commit()


def list_sessions(session: Session, user_id: UUID) -> Sequence[LoginSession]:
    return session.scalars(
        select(LoginSession)
        .where(LoginSession.user_id == user_id, LoginSession.expires_at > func.now())
        .order_by(LoginSession.last_seen_at.desc())
    ).all()


def revoke_session(uow: UnitOfWork, user_id: UUID, session_id: UUID) -> None:
    with uow:
        found = uow.session.get(LoginSession, session_id)
        if found is None or found.user_id != user_id:
            raise NotFound("There is no such session.")
        uow.session.delete(found)
        uow.commit()


# --- API keys ------------------------------------------------------------------------------------------------------


def make_api_key(uow: UnitOfWork, user_id: UUID, name: str) -> tuple[ApiKey, str]:
    """A new key: its row, and the key itself, which is never seen again."""
    name = one_line(name, "name", LONGEST_KEY_NAME, "A key's name")
    if not name:
        raise Invalid("A key needs a name, so that you know it again.", field="name")
    with uow:
        key = new_api_key()
        row = ApiKey(user_id=user_id, name=name, prefix=key[:10], key_sha256=digest_of(key))
        uow.session.add(row)
        uow.commit()
        uow.session.refresh(row)
        return row, key


def list_api_keys(session: Session, user_id: UUID) -> Sequence[ApiKey]:
    return session.scalars(
        select(ApiKey).where(ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None)).order_by(ApiKey.created_at)
    ).all()


def revoke_api_key(uow: UnitOfWork, user_id: UUID, key_id: UUID) -> None:
    with uow:
        changed = uow.session.scalar(
            update(ApiKey)
            .where(ApiKey.id == key_id, ApiKey.user_id == user_id, ApiKey.revoked_at.is_(None))
            .values(revoked_at=func.now())
            .returning(ApiKey.id)
        )
        if changed is None:
            raise NotFound("There is no such key.")
        uow.commit()


# --- users, for administrators -------------------------------------------------------------------------------------


def _new_user(name: str, password: str, *, is_admin: bool) -> User:
    name = name.strip()
    if not _NAME.fullmatch(name):
        raise Invalid("A user name has 1 to 60 letters, digits, dots, dashes, _ or @.", field="name")
    return User(name=name, password_hash=hash_password(password), is_admin=is_admin)


def create_user(uow: UnitOfWork, name: str, password: str, *, is_admin: bool = False) -> User:
    """Conflict when the name is taken, in whatever case."""
    with uow:
        user = _new_user(name, password, is_admin=is_admin)
        uow.session.add(user)
        try:
            uow.commit()
        except IntegrityError:
            raise Conflict(f"There is a user named {name.strip()} already.", field="name") from None
        uow.session.refresh(user)
        return user


def list_users(session: Session) -> Sequence[User]:
    return session.scalars(select(User).order_by(func.lower(User.name))).all()


def change_user(
    uow: UnitOfWork,
    admin_id: UUID,
    user_id: UUID,
    *,
    disabled: bool | None = None,
    password: str | None = None,
    quota_bytes: int | EllipsisType | None = ...,
) -> User:
    """What an administrator may change about somebody; what is None (and a quota not given) stays.

    disabled: locked out, with their sessions ended and their keys refused; nothing of theirs is deleted.
    password: for who forgot theirs. Every session of theirs ends; keys stay, as programs use them.
    quota_bytes: how much they may keep; 0 for no limit, None for what everybody may.
    """
    if disabled and admin_id == user_id:
        raise Conflict("You cannot lock yourself out.")
    if isinstance(quota_bytes, int) and not 0 <= quota_bytes <= LARGEST_QUOTA_BYTES:
        raise Invalid("A quota is a number of bytes, or 0 for no limit.", field="quota_bytes")
    with uow:
        user = uow.session.get(User, user_id, with_for_update=True)
        if user is None:
            raise NotFound("There is no such user.")
        if not isinstance(quota_bytes, EllipsisType):
            user.quota_bytes = quota_bytes
        if disabled is not None:
            user.disabled_at = now() if disabled else None
        if password is not None:
            user.password_hash = hash_password(password)
        if disabled or password is not None:
            uow.session.execute(delete(LoginSession).where(LoginSession.user_id == user_id))
        uow.commit()
        return user
