"""A new password for somebody who forgot theirs, the only administrator included: `python -m app.new_password NAME`."""

import argparse
import secrets
import sys

from app.accounts.service import change_user, user_called
from app.commands import servers_of_command
from app.db import UnitOfWork, make_engine, make_sessions


def give_new_password(database_url: str, name: str) -> str | None:
    """The new password, which is kept nowhere; None when there is no such user. Their sessions end."""
    engine = make_engine(database_url)
    try:
        sessions = make_sessions(engine)
        with sessions() as session:
            user = user_called(session, name)
        if user is None:
            return None
        password = secrets.token_urlsafe(15)
        change_user(UnitOfWork(sessions, lambda *_args, **_kwargs: None), user.id, user.id, password=password)
        return password
    finally:
        engine.dispose()


def main() -> int:
    parser = argparse.ArgumentParser(description="Give somebody a new password. They are logged out everywhere.")
    parser.add_argument("name", help="as they log in")
    name = parser.parse_args().name
    with servers_of_command() as (_, servers):
        password = give_new_password(servers.database_url, name)
    if password is None:
        sys.stderr.write(f"There is no user named {name}.\n")
        return 1
    sys.stdout.write(f"{name} logs in with\n  {password}\nand changes it on the account page.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
