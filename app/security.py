"""Secrets: how they are made, and what of them is kept. Passwords slowly (argon2id), random tokens by SHA-256."""

import hashlib
import hmac
import secrets
from functools import cache

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError

from app.errors import Invalid
from app.texts import check_written

KEY_PREFIX = "pk_"
SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 200

_hasher = PasswordHash.recommended()


@cache
def _hash_of_nobody() -> str:
    """Checked against when there is no such user, so that an answer takes as long and tells nothing."""
    return _hasher.hash(secrets.token_urlsafe(16))


def hash_password(password: str) -> str:
    """argon2id with a salt. Raises Invalid when it is too short to be worth it."""
    if len(password) < SHORTEST_PASSWORD:
        raise Invalid(f"A password needs at least {SHORTEST_PASSWORD} characters.", field="password")
    if len(password) > LONGEST_PASSWORD:
        raise Invalid(f"A password may have at most {LONGEST_PASSWORD} characters.", field="password")
    check_written(password, "password", "A password")
    return _hasher.hash(password)


def password_fits(password: str, hashed: str | None) -> bool:
    """Whether it is that password. Without a hash it takes as long and is never right."""
    # Made by the first check of any password, not by the first of a name that there is not: that one would stand out.
    nobody = _hash_of_nobody()
    try:
        fits = _hasher.verify(_bytes_of(password[:LONGEST_PASSWORD]), hashed or nobody)
    except UnknownHashError:  # no password opens an account that was made without one
        return False
    return fits and hashed is not None


def new_token() -> str:
    """32 random bytes as text that may stand in an address."""
    return secrets.token_urlsafe(32)


def new_api_key() -> str:
    return KEY_PREFIX + secrets.token_urlsafe(32)


def digest_of(token: str) -> str:
    """What is kept of a random token: enough to know it again, not enough to use it."""
    return hashlib.sha256(_bytes_of(token)).hexdigest()


def same(first: str, second: str) -> bool:
    """Compare two secrets in a time that tells nothing about where they differ."""
    return hmac.compare_digest(_bytes_of(first), _bytes_of(second))


def _bytes_of(secret: str) -> bytes:
    """Of whatever somebody sends in place of a secret: that it cannot be written makes it wrong, and no error."""
    return secret.encode(errors="surrogatepass")
