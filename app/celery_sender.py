"""A Celery application that only sends. It knows the worker's tasks by name and imports nothing of it."""

from collections.abc import Callable

from celery import Celery

from app.queue import QUEUE_OF
from app.servers import broker_url


def make_sender(redis_url: str) -> Callable[..., object]:
    """Celery's `send_task`, with the queue of each task; gives up within a second or two when the broker is away.

    The web process must not hang on it: a message that is not sent costs one sweep.
    """
    celery = Celery(broker=broker_url(redis_url))
    celery.conf.update(
        task_ignore_result=True,
        broker_connection_retry_on_startup=False,
        broker_transport_options={"socket_connect_timeout": 1, "socket_timeout": 2, "max_retries": 0},
        task_publish_retry=False,
    )

    def send(task: str, *, kwargs: dict[str, str]) -> object:
        return celery.send_task(task, kwargs=kwargs, queue=QUEUE_OF[task], retry=False)

    return send
