"""Browsers in which somebody has logged in before, so that strangers who guess at their password do not keep them out.

Nothing of it is stored: a cookie bears a number, signed with the hash of the password, and is worth nothing for another
name or once the password has changed.
"""

import hmac

from sqlalchemy.orm import Session

from app.accounts.models import User
from app.accounts.service import user_called
from app.security import new_token, same

KNOWN_COOKIE = "palimpsest_known"
KNOWN_FOR_S = 365 * 86_400
LONGEST = 200


def cookie_for(user: User) -> str:
    """Its value for a browser in which that user has just logged in."""
    number = new_token()
    return f"{number}.{_signature(number, user)}"


def number_of(session: Session, name: str, cookie: str) -> str | None:
    """The number of a browser that has sent this cookie; None unless whoever has this name has logged in there."""
    number, _, signature = cookie.partition(".")
    if not signature or len(cookie) > LONGEST:
        return None
    user = user_called(session, name)
    return number if user is not None and same(signature, _signature(number, user)) else None


def _signature(number: str, user: User) -> str:
    said = f"known {user.id} {number}"
    return hmac.digest(user.password_hash.encode(), said.encode(errors="surrogatepass"), "sha256").hex()
