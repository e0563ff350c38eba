"""Pictures asked of the engine: one order a request, one row of work a picture."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from torch import Tensor

from cns.compose import Version
from cns.denoise import GenerationRequest, GenerationRun
from worker.errors import let_go

Size = tuple[int | None, int | None]
"""Height and width of a picture in pixels; None for those of the base."""


@dataclass(eq=False)
class Row:
    """One picture on its way. run: None until the engine has begun it."""

    order: "Order"
    place: int
    request: GenerationRequest
    run: GenerationRun | None = None

    @property
    def width(self) -> int:
        """Rows of the UNet's batch that its next step takes."""
        if self.run is not None:
            return self.run.rows
        return 2 if self.request.guidance > 1 else 1

    @property
    def done(self) -> bool:
        """Whether all its steps are taken; it waits for the autoencoder then."""
        return self.run is not None and self.run.done

    @property
    def owner(self) -> UUID | None:
        return self.order.owner

    @property
    def size_px(self) -> Size:
        """Pictures of one size can share a step."""
        return self.request.height_px, self.request.width_px


class Order:
    """The pictures of one request under one version.

    version: composes it, called on the engine's thread when its first picture is begun. owner: whom the work is for;
    the engine is fair between owners. deadline: by when they want it, which puts it before other pictures of theirs.
    finished: set when all pictures are there, or none will come any more.
    """

    def __init__(
        self,
        version: Callable[[], Version],
        requests: Sequence[GenerationRequest],
        owner: UUID | None = None,
        deadline: datetime | None = None,
    ):
        self.version, self.owner, self.deadline = version, owner, deadline
        self.rows = [Row(self, place, request) for place, request in enumerate(requests)]
        self.finished = threading.Event()
        self.preview_wanted = False
        self.steps_total = sum(request.steps for request in requests)
        self._pictures: dict[int, Tensor] = {}
        self._steps_delivered = 0
        self._error: BaseException | None = None
        self._preview: tuple[Tensor, int] | None = None

    # --- from any thread -----------------------------------------------------------------------------------------

    @property
    def steps_done(self) -> int:
        """Denoising steps taken, over all its pictures."""
        under_way = sum(row.run.steps_done for row in tuple(self.rows) if row.run is not None)
        return min(self._steps_delivered + under_way, self.steps_total)

    def drop(self) -> None:
        """Nobody wants it any more: the engine leaves it at its next step."""
        self.finished.set()
        self.rows = []  # they hold it and it holds them: what they have on the device would stay for long

    def pictures(self) -> list[Tensor]:
        """(3, height, width) float32 in 0..1 on the CPU for each request, in order; raises what went wrong."""
        if self._error is not None:
            raise self._error
        return [self._pictures[place] for place in range(len(self._pictures))]

    def take_preview(self) -> tuple[Tensor, int] | None:
        """The newest look at the first picture on its way, (3, height, width), with the steps it has behind it."""
        taken, self._preview = self._preview, None
        return taken

    # --- on the engine's thread ----------------------------------------------------------------------------------

    def deliver(self, row: Row, pixels: Tensor) -> None:
        self._pictures[row.place] = pixels
        self.rows = [other for other in self.rows if other is not row]
        self._steps_delivered += row.request.steps
        if not self.rows:
            self.finished.set()

    def show(self, pixels: Tensor, steps_done: int) -> None:
        self._preview, self.preview_wanted = (pixels, steps_done), False

    def fail(self, error: BaseException) -> None:
        if not self.finished.is_set():
            self._error = let_go(error)
            self.drop()
