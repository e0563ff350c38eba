"""Our way of serving: the worker's own choice of batches over one shared UNet, without its database and its queue."""

from collections.abc import Callable, Sequence

from torch import Tensor

from cns.base_model import BaseModel
from cns.compose import Version
from cns.denoise import GenerationRequest
from worker.orders import Order
from worker.painting import Painter


def paint(
    base: BaseModel, versions: Sequence[Callable[[], Version]], requests: Sequence[GenerationRequest], batch_rows: int
) -> list[Tensor]:
    """One order for each request, all asked at once by as many people; the pictures in their order.

    versions: composes the version of each request. batch_rows: rows of one UNet call; a guided picture takes two.
    returns  (3, height, width) float32 in 0..1 on the CPU each
    """
    painter = Painter(base, batch_rows)
    orders = [Order(version, [request]) for version, request in zip(versions, requests, strict=True)]
    while waiting := [order for order in orders if not order.finished.is_set()]:
        painter.step(waiting)
    return [picture for order in orders for picture in order.pictures()]


def rows_of(request: GenerationRequest) -> int:
    """Rows of the UNet's batch that a picture takes: 2 with guidance, else 1."""
    return 2 if request.guidance > 1 else 1
