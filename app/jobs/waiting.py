"""How long until a job is done, from what is asked of the device and how it is shared. Pure."""

from collections.abc import Iterable


def seconds_until_done(own: float, others: Iterable[float], beside: float, share: float, devices: int = 1) -> float:
    """When a job will be done, in seconds from now, if nothing else is asked for meanwhile.

    own: seconds of a device for its owner's work up to this job, this one too. others: for the work of each other
    owner in the same share of the device. beside: for all work in the other share. share: of the device, 0..1, while
    both shares have work. devices: that take from the queue.

    Owners take turns, so by the time that `own` is done, each other owner got as much of the device as that, or all
    that they wanted. When one share has no more work the other gets everything.
    """
    alone = own + sum(min(seconds, own) for seconds in others)
    return min(alone / share, alone + beside) / max(1, devices)
