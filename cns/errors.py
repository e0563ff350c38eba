"""What can go wrong, each with a message that is a full sentence a user may see."""


class CnsError(Exception):
    """The root of every error this library raises on purpose."""


class UnknownToken(CnsError):
    """A prompt names a <token> for which the caller brought no vector."""


class BaseModelError(CnsError):
    """A base model cannot be loaded, or is asked for something that does not fit it."""


class PickleRefused(BaseModelError):
    """Weights lie in a pickle, which could run any code when it is opened."""


class DeltaError(CnsError):
    """A delta cannot be read or does not fit."""


class ForeignFile(DeltaError):
    """The bytes are not those of a delta at all."""


class DamagedDelta(DeltaError):
    """The bytes were a delta once, but no longer hold what its checksum promises."""


class WrongBase(DeltaError):
    """The delta was learned on another base model."""


class LearningRefused(CnsError):
    """A learning was asked for that cannot be done as asked."""
