"""Where a job is spoken of over Redis, for whoever watches it. Fleeting: PostgreSQL has what counts."""

import json
from uuid import UUID

import redis
from redis.exceptions import RedisError

from app.logs import log


def channel_of(job_id: UUID) -> str:
    return f"palimpsest:job:{job_id}"


def wake(client: redis.Redis, job_id: UUID) -> None:
    """Say that something about it was committed, so that its streams read it now and not at their next look."""
    try:
        client.publish(channel_of(job_id), json.dumps({"kind": "wake"}))
    except (RedisError, OSError) as error:
        log.warning("watchers_not_woken", job_id=str(job_id), error=type(error).__name__)
