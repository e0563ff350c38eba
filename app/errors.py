"""Errors are sentences with a status. The message can be shown to a person as it is."""

from collections.abc import Sequence


class AppError(Exception):
    """What was asked for cannot be done. status: of the HTTP answer. kind: names the error for programs.

    field: the form field the sentence belongs to, where there is one.
    """

    status = 400
    kind = "refused"

    def __init__(self, message: str, field: str | None = None):
        super().__init__(message)
        self.message = message
        self.field = field

    @property
    def errors(self) -> list[tuple[str, str]]:
        """(field, sentence) of everything that is wrong; nothing where no field is to blame."""
        return [(self.field, self.message)] if self.field else []


class Unauthorized(AppError):
    """Nobody is logged in, or the key is not valid."""

    status = 401
    kind = "unauthorized"


class Forbidden(AppError):
    """This user may not do that, or the form's token is missing."""

    status = 403
    kind = "forbidden"


class OverQuota(Forbidden):
    """This user keeps as many bytes as they may."""

    kind = "over-quota"


class NotFound(AppError):
    """There is no such thing, or it belongs to somebody else: the answer is the same, so that nothing is told."""

    status = 404
    kind = "not-found"


class Conflict(AppError):
    """It contradicts the state of things: a name is taken, a job has ended."""

    status = 409
    kind = "conflict"


class Invalid(AppError):
    """A value cannot be used; the sentence says what to change."""

    status = 422
    kind = "invalid"


class TooLarge(AppError):
    """More bytes, files or pixels than are taken."""

    status = 413
    kind = "too-large"


class SeveralRefused(Invalid):
    """More than one thing is wrong; each is told, so that they can be mended at once."""

    def __init__(self, refused: Sequence[AppError]):
        super().__init__(" ".join(one.message for one in refused), refused[0].field)
        self.refused = refused

    @property
    def errors(self) -> list[tuple[str, str]]:
        return [error for one in self.refused for error in one.errors]


class TooMany(AppError):
    """Too many requests in a short time, or too many open jobs. retry_after_s: when to come again."""

    status = 429
    kind = "too-many"

    def __init__(self, message: str, retry_after_s: int = 60):
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Unavailable(AppError):
    """A part of the service is away for the moment: database, broker, worker."""

    status = 503
    kind = "unavailable"


class Busy(Unavailable):
    """More is asked by all together than can be done. retry_after_s: when to come again."""

    def __init__(self, message: str, retry_after_s: int):
        super().__init__(message)
        self.retry_after_s = retry_after_s
