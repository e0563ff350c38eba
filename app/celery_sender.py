"""A Celery application that only sends. It knows the worker's tasks by name and imports nothing of it."""

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from app.servers import broker_url

if TYPE_CHECKING:
    from celery import Celery
    from kombu import Queue


def make_sender(redis_url: str) -> Callable[..., object]:
    """Celery's `send_task`, to the queue that it is told; gives up within a second or two when the broker is away.

    The web process must not hang on it: a message that is not sent costs one sweep. Nor does it wait for Celery when it
    starts: the first message loads it.
    """

    @cache
    def celery() -> "Celery":
        return _make_celery(redis_url)

    def send(task: str, *, kwargs: dict[str, str], queue: str) -> object:
        return celery().send_task(task, kwargs=kwargs, queue=named_queue(queue), retry=False)

    return send


def _make_celery(redis_url: str) -> "Celery":
    from celery import Celery

    celery = Celery(broker=broker_url(redis_url))
    celery.conf.update(
        task_ignore_result=True,
        broker_connection_retry_on_startup=False,
        broker_transport_options={"socket_connect_timeout": 1, "socket_timeout": 2, "max_retries": 0},
        task_publish_retry=False,
    )
    return celery


def named_queue(name: str) -> "Queue":
    """A queue that is reached by its name alone. An exchange would leave a binding in the broker for each worker that
    ever was.
    """
    from kombu import Exchange, Queue

    return Queue(name, Exchange(""), routing_key=name)
