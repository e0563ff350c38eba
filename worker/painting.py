"""Pictures on their way: one step at a time, many at once. On the engine's thread alone."""

import logging
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cns.base_model import BaseModel
from cns.denoise import GenerationRun, denoise_step
from cns.kv import handed_attention
from cns.prompts import Encode
from worker.batches import choose_batch
from worker.device import PictureTooLarge, check_device, give_memory_back, is_out_of_memory
from worker.orders import Order, Row, Size
from worker.pace import Pace

log = logging.getLogger(__name__)
DECODED_AT_ONCE = 8  # pictures through the autoencoder together: bounds memory, changes no picture


class Painter:
    """Chooses who goes together, takes the step, decodes what is finished, and lets nobody fail for another.

    batch_rows: rows of one UNet call, at most; a guided picture takes two. room: fewer, for sizes whose pictures were
    too large to go together. row_pace: seconds of one row of one step. encode: how runs come by K and V of prompts.
    """

    def __init__(self, base: BaseModel, batch_rows: int, encode: Encode | None = None):
        self.base, self.batch_rows, self._encode = base, batch_rows, encode
        self.room: dict[Size, int] = {}
        self.row_pace = Pace()
        self._steps = 0
        self._served: dict[object, int] = {}  # owner -> the last step that they had a picture in

    def step(self, orders: Sequence[Order]) -> None:
        """One denoising step of a batch of their pictures, and whatever becomes finished by it."""
        waiting = [row for order in orders for row in order.rows]
        batch = choose_batch(waiting, self.batch_rows, self.room, self._served)
        self._note_served(batch, orders)
        batch = [row for row in batch if self._begun(row)]
        if not batch:
            return
        begun = time.monotonic()
        self._together_or_fewer(batch, self._denoise)
        finished = [row for row in batch if row.run is not None and row.run.done]
        for start in range(0, len(finished), DECODED_AT_ONCE):
            self._together_or_fewer(finished[start : start + DECODED_AT_ONCE], self._deliver)
        self._preview(batch)
        self.row_pace.note((time.monotonic() - begun) / sum(row.width for row in batch))

    def _note_served(self, batch: Sequence[Row], orders: Sequence[Order]) -> None:
        """Remember who got this step, of those who still wait for something."""
        self._steps += 1
        owners = {order.owner for order in orders}
        self._served = {owner: step for owner, step in self._served.items() if owner in owners}
        self._served |= {row.owner: self._steps for row in batch}

    def _begun(self, row: Row) -> bool:
        """Give a row its run; an order that cannot be begun fails by itself."""
        if row.order.finished.is_set():
            return False
        if row.run is None:
            try:
                row.run = GenerationRun(self.base, row.order.version(), row.request, self._encode)
            except Exception as error:
                check_device(self.base.device)
                row.order.fail(PictureTooLarge() if is_out_of_memory(error) else error)
                return False
        return True

    def _together_or_fewer(self, rows: Sequence[Row], work: Callable[[Sequence[Row]], None]) -> None:
        """Do `work` for all rows at once; when it fails, for each half, so that only whom it fails for alone fails."""
        rows = [row for row in rows if not row.order.finished.is_set()]
        if not rows:
            return
        try:
            work(rows)
            return
        except Exception as error:
            check_device(self.base.device)
            short = is_out_of_memory(error)
            if len(rows) == 1:
                rows[0].order.fail(PictureTooLarge() if short else error)
                return
            log.warning("A step of %d pictures failed, so fewer are tried: %r", len(rows), error)
        # Out here, as the error held on to the tensors of all the calls that it came through.
        if short:
            give_memory_back(self.base.device)
        half = len(rows) // 2
        self._together_or_fewer(rows[:half], work)
        self._together_or_fewer(rows[half:], work)

    def _denoise(self, rows: Sequence[Row]) -> None:
        """One UNet call for all of them. When it fails, each run has taken its step or has not."""
        runs = [row.run for row in rows if row.run is not None and not row.run.done]
        if not runs:
            return
        try:
            with handed_attention(self.base.unet):
                denoise_step(self.base, runs)
            if self.base.device.type == "cuda":
                torch.cuda.synchronize(self.base.device)  # else the time would be booked on whoever comes next
        except Exception as error:
            if is_out_of_memory(error):  # fewer of this size from now on
                self.room[rows[0].size_px] = max(1, sum(run.rows for run in runs) // 2)
            raise

    def _deliver(self, rows: Sequence[Row]) -> None:
        pixels = self._decode([row.run for row in rows if row.run is not None])
        for row, picture in zip(rows, pixels, strict=True):
            row.order.deliver(row, picture)

    def _decode(self, runs: Sequence[GenerationRun]) -> Tensor:
        """(n, 3, height, width) float32 in 0..1 on the CPU."""
        return self.base.decode_latents(torch.cat([run.latents for run in runs])).cpu()

    def _preview(self, batch: Sequence[Row]) -> None:
        """A look at the pictures on their way, for orders where somebody asked for one."""
        for order in {id(row.order): row.order for row in batch if row.order.preview_wanted}.values():
            runs = [
                row.run for row in order.rows if row.run is not None and row.run.steps_done > 0 and not row.run.done
            ]
            if not runs or order.finished.is_set():
                continue
            try:
                scaled = runs[0].scheduler.scale_model_input(runs[0].latents, runs[0].timestep)
                order.show(self.base.decode_latents(scaled)[0].cpu(), runs[0].steps_done)
            except Exception as error:  # the picture is worth more than a look at it
                check_device(self.base.device)
                order.preview_wanted = False
                log.warning("There is no look at a picture on its way: %r", error)
