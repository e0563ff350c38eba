"""What we add to Celery's own steps of starting and stopping."""

from collections.abc import Callable
from typing import Any

from celery import Celery, bootsteps

REST_S = 2.0  # between two tries to read messages


class Rest(bootsteps.StartStopStep):
    """A moment's rest before the broker is tried anew. One that answers with nothing but errors is there at once each
    time, and would be asked, and complained of, as often as the machine can.
    """

    def stop(self, parent: Any) -> None:
        from worker import current

        if parent.blueprint.state == bootsteps.RUN:  # it is only begun anew
            current.worker().hands.stopping.wait(REST_S)


def add_steps(celery: Celery, stop: Callable[[], None]) -> None:
    """stop: puts down what is in hand, without waiting for it.

    It is called however Celery comes to end, before it waits for all tasks: by a signal, by a command that came with
    the messages, or because something broke that it cannot mend. Otherwise a worker that reads no more messages would
    keep its jobs, and nobody would start it anew, until the longest of them is done.
    """

    class PutDown(bootsteps.StartStopStep):
        requires = ("celery.worker.components:Pool",)

        def close(self, _parent: Any) -> None:
            stop()

    celery.steps["worker"].add(PutDown)
    celery.steps["consumer"].add(Rest)
