"""Why a job is not gone on with, though nothing is wrong with it; and how an error is handed to another thread."""

from traceback import format_exception
from typing import TypeVar

from cns.errors import CnsError

Error = TypeVar("Error", bound=BaseException)


class Dropped(Exception):
    """The job is put down at its next step."""


class CancelAsked(Dropped):
    """Its user asked to cancel it."""


class ClaimGone(Dropped):
    """Somebody else has it now, or it was deleted: nothing of it may be written any more."""


class WorkerStops(Dropped):
    """This worker was told to stop: the job goes back into the queue."""


class StepHangs(WorkerStops):
    """It stops while the device does not come to the end of a step: nothing more may be asked of the device."""


class TookTooLong(Exception):
    """The job ran into its time limit; the message is for its user."""


class OtherBase(CnsError):
    """The job's history is on another base model than this worker has; the message is for its user."""


def let_go(error: Error) -> Error:
    """The error, to be kept for whoever waits: it tells in words where it came from, and holds nothing of what was
    worked on there.

    Otherwise it would hold the calls that it came through, those that caught it included, and is held by what they work
    on in turn: all of it, with its memory on the device, would stay until Python next looks for such rings, which may
    be never.
    """
    if error.__traceback__ is not None:
        error.add_note("".join(format_exception(error)).rstrip())
    one: BaseException | None = error
    while one is not None and one.__traceback__ is not None:
        one.__traceback__ = None
        one = one.__cause__ or one.__context__
    return error
