"""How often one may ask. Counted in Redis, so that several web processes count together."""

import time
from functools import cache

from limits import RateLimitItem
from limits import parse as parse_rate
from limits.storage import storage_from_string
from limits.strategies import MovingWindowRateLimiter
from redis.exceptions import RedisError

from app.errors import TooMany
from app.logs import log
from app.state import State

PATIENCE_S = 1.0  # with a broker that takes the line and says nothing; every request waits this long then


@cache  # of the few that settings name, at every request
def parse(rate: str, times: int = 1) -> RateLimitItem:
    """The rate, or so many times as much in the same time."""
    limit = parse_rate(rate)
    return type(limit)(limit.amount * times, limit.multiples)


def make_limiter(redis_url: str) -> MovingWindowRateLimiter:
    address = redis_url.replace("unix://", "redis+unix://", 1)
    return MovingWindowRateLimiter(
        storage_from_string(address, socket_timeout=PATIENCE_S, socket_connect_timeout=PATIENCE_S)
    )


def spend(state: State, rate: str, what: str, whose: str, times: int = 1) -> None:
    """Count one use of `rate` ("10/minute"), or of `times` as much. Raises TooMany when it is used up.

    While Redis is away nothing is counted: better a few requests too many than a service that answers nobody.
    """
    limit = parse(rate, times)
    try:
        if state.limiter.hit(limit, what, whose):
            return
        wait_s = max(1, int(state.limiter.get_window_stats(limit, what, whose).reset_time - time.time()) + 1)
    except RedisError as error:
        log.warning("rates_not_counted", error=type(error).__name__)
        return
    raise TooMany(f"That was too often. Try again in {wait_s} seconds.", retry_after_s=wait_s)
