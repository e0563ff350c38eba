"""Our way of serving: the worker's own choice of batches over one shared UNet, without its database and its queue."""

from collections.abc import Callable, Sequence
from uuid import UUID

from torch import Tensor

from cns.base_model import BaseModel
from cns.compose import Version
from cns.denoise import GenerationRequest
from worker.orders import Order
from worker.painting import Painter


class Ours:
    """A worker's painter, kept from request to request as a worker keeps it. batch_rows: of one UNet call, at most."""

    def __init__(self, base: BaseModel, batch_rows: int):
        self._painter = Painter(base, batch_rows)

    def paint(self, versions: Sequence[Callable[[], Version]], requests: Sequence[GenerationRequest]) -> list[Tensor]:
        """One order for each request, all asked at once by as many people; the pictures in their order.

        versions: composes the version of each request.
        returns  (3, height, width) float32 in 0..1 on the CPU each
        """
        orders = [
            Order(version, [request], owner=UUID(int=number))
            for number, (version, request) in enumerate(zip(versions, requests, strict=True))
        ]
        while waiting := [order for order in orders if not order.finished.is_set()]:
            self._painter.step(waiting)
        return [picture for order in orders for picture in order.pictures()]


def rows_of(request: GenerationRequest) -> int:
    """Rows of the UNet's batch that a picture takes: 2 with guidance, else 1."""
    return 2 if request.guidance > 1 else 1
