"""What the worker tells others through Redis: that a job waits, and how a job is getting on. Best effort throughout.

PostgreSQL has the truth, so nothing here may ever hold up or end a job: a broker that is away is left alone for a
moment, and the sweep and the pages' own reading make good for what was not heard.
"""

import json
import logging
import time
from typing import Any
from uuid import UUID

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from app.jobs.channel import channel_of

log = logging.getLogger(__name__)
REST_S = 2.0  # how long a broker that did not answer is left alone
TIMEOUT_S = 1.0


class Bell:
    """Publishes to the channel of a job."""

    def __init__(self, redis_url: str):
        self._redis = Redis.from_url(
            redis_url,
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._rest_until = 0.0

    def wake(self, job_id: UUID) -> None:
        """Something was committed: whoever watches may read it now."""
        self.publish(job_id, {"kind": "wake"})

    def publish(self, job_id: UUID, message: dict[str, Any]) -> bool:
        """Whether anybody heard it."""
        if time.monotonic() < self._rest_until:
            return False
        try:
            return int(self._redis.publish(channel_of(job_id), json.dumps(message))) > 0
        except (RedisError, OSError) as error:
            self._rest_until = time.monotonic() + REST_S
            log.debug("Redis is away: %s", error)
            return False

    def drop_queue(self, name: str) -> None:
        """Throw away the messages that wait for a worker that will not come for them; others have their jobs."""
        try:
            self._redis.delete(name)
        except (RedisError, OSError) as error:
            log.debug("Redis is away: %s", error)

    def close(self) -> None:
        self._redis.close()
