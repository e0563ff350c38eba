"""Why a job is not gone on with, though nothing is wrong with it."""

from cns.errors import CnsError


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
