"""Celery: which queues are read, how, and what happens when the pool starts and stops.

    celery -A worker.celery_app worker --pool threads      or      python -m worker

Messages are acknowledged at once: PostgreSQL says what is to be done, and a lost message costs one sweep. Late
acknowledgement would deliver long jobs twice, and a broker that goes away under one would end the worker.
"""

import logging
import os
import signal
import threading
import warnings
from typing import Any

from celery import Celery, signals
from celery.exceptions import CPendingDeprecationWarning, SecurityWarning
from celery.platforms import signals as process_signals
from sqlalchemy.exc import OperationalError

from app.config import Settings, settings
from app.logs import set_up_logs
from app.servers import broker_url
from worker.celery_steps import add_steps

# Celery warns whoever is root, for the sake of pickles, which are not accepted here, and whoever lets tasks outlive a
# lost connection, which is meant.
warnings.filterwarnings("ignore", category=SecurityWarning)
warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)

log = logging.getLogger(__name__)
STOP_WITHIN_S = 18.0  # from SIGTERM on; whatever hangs longer than that is left to its lease
MESSAGE_LOST_S = 3600  # when a message that was handed out but never acknowledged is handed out again


def make_celery(chosen: Settings) -> Celery:
    made = Celery("palimpsest", broker=broker_url(chosen.redis_url), include=["worker.tasks"])
    made.conf.update(
        task_create_missing_queues=False,  # worker/queues.py says which there are, once the base is known
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_acks_late=False,
        # A threads pool has no time limits of its own: generating.LIMIT_S and learning.LIMIT_S are the ones that hold.
        task_time_limit=None,
        task_soft_time_limit=None,
        worker_pool="threads",
        worker_concurrency=chosen.worker_threads,
        worker_disable_prefetch=True,  # what no hand is free for stays in the queue, for other workers and after a kill
        worker_prefetch_multiplier=1,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # for ever
        # A broker that answers with an error, as one does whose disk is full or that became a replica, is waited for
        # just as one that does not answer. Otherwise Celery reads no more, and waits for the jobs in hand to end.
        broker_channel_error_retry=True,
        broker_connection_timeout=4,
        broker_transport_options={
            "visibility_timeout": MESSAGE_LOST_S,
            "socket_connect_timeout": 4,
            "socket_timeout": 20,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    )
    return made


celery = make_celery(settings())
_stops = threading.Event()


@signals.setup_logging.connect
def _set_up_logging(**_: Any) -> None:
    """Ours, not Celery's."""
    set_up_logs(settings().log_format, settings().log_level)
    for name in ("celery.worker.strategy", "celery.app.trace", "kombu", "filelock"):
        logging.getLogger(name).setLevel(logging.WARNING)


@signals.worker_init.connect
def _load(**_: Any) -> None:
    """Load the model before the first message is read; a worker without one is of no use."""
    from cns.errors import CnsError
    from worker import current
    from worker.queues import read_queues

    _set_up_logging()
    try:
        worker = current.load(settings(), celery.send_task)
        read_queues(celery, worker.equipment.base.id, worker.id)
        worker.start()
    except (CnsError, OperationalError) as error:
        log.critical("The worker cannot start: %s", error)
        raise SystemExit(1) from None
    except Exception:  # Celery would go on without what its tasks need
        log.exception("The worker cannot start.")
        raise SystemExit(1) from None


@signals.worker_ready.connect
def _ready(**_: Any) -> None:
    """Ctrl-C means the same as SIGTERM: put down what is in hand, give it back, go."""
    process_signals["SIGINT"] = signal.getsignal(signal.SIGTERM)


@signals.worker_shutting_down.connect
def _stop(**_: Any) -> None:
    """Called within a signal handler, where nothing may be waited for; and again when the reading of messages ends."""
    if not _stops.is_set():
        _stops.set()
        threading.Thread(target=_stop_in_time, name="stop", daemon=True).start()


add_steps(celery, _stop)


def _stop_in_time() -> None:
    from worker import current

    current.stop()
    if not current.closed.wait(STOP_WITHIN_S):
        log.error(
            "Something did not stop within %.0f s; its jobs are taken back when their leases run out.", STOP_WITHIN_S
        )
        os._exit(1)


@signals.worker_shutdown.connect
def _close(**_: Any) -> None:
    from worker import current

    current.close()
