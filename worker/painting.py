"""Pictures on their way: one step at a time, many at once. On the engine's thread alone."""

import logging
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cns.base_model import BaseModel
from cns.denoise import GenerationRun, NoPicture, check_picture, decoded_at_once, denoise_step
from cns.kv import Predict, handed_attention, predict
from cns.memory import is_out_of_memory
from cns.preview import LatentPreview, fit_preview
from cns.prompts import Encode
from worker.batches import choose_batch
from worker.capacity import Capacity
from worker.device import PictureTooLarge, check_device, free_bytes, give_memory_back, measured
from worker.orders import Order, Row, Size
from worker.pace import Pace
from worker.second_stream import Begun, SecondStream

log = logging.getLogger(__name__)
DECODED_AT_ONCE = 8  # pictures through the autoencoder between two steps: bounds memory and waiting, changes no picture


class Painter:
    """Chooses who goes together, takes the step, decodes what is finished, and lets nobody fail for another.

    batch_rows: rows of one UNet call, at most; a guided picture takes two. encode: how runs come by K and V of
    prompts. preview: how latents on their way are looked at; None to fit it to the base. call: how the UNet is asked.
    capacity: how many rows of a size go together. row_pace: seconds of one row of a step, of the base's own size.
    """

    def __init__(
        self,
        base: BaseModel,
        batch_rows: int,
        encode: Encode | None = None,
        preview: LatentPreview | None = None,
        call: Predict = predict,
    ):
        self.base, self._encode, self._call = base, encode, call
        self._look = preview or fit_preview(base)
        self.capacity = Capacity(batch_rows)
        self.row_pace = Pace()
        self._aside = SecondStream(base.device)
        self._finished: list[Row] = []  # with all steps taken, to be decoded, the oldest first
        self._decoding: list[tuple[Sequence[Row], Begun]] = []
        self._steps = 0
        self._served: dict[object, int] = {}  # owner -> the last step that they had a picture in

    def step(self, orders: Sequence[Order]) -> None:
        """One denoising step of a batch of their pictures, and a few of those decoded that are finished."""
        waiting = [row for order in orders for row in order.rows if not row.done]
        chosen = choose_batch(waiting, self._most_rows, self._served)
        self._note_served(chosen, orders)
        batch = [row for row in chosen if self._begun(row, orders)]
        if chosen and not batch:  # nobody more can be begun, so those on their way go on
            under_way = [row for row in waiting if row.run is not None]
            batch = choose_batch(under_way, self._most_rows, self._served)
        begun = time.monotonic()
        self._together_or_fewer(batch, self._denoise)
        self._finished += [row for row in batch if row.done]
        self._finish_pictures(idle=not batch)
        self._preview(batch)
        if batch:
            self.row_pace.note((time.monotonic() - begun) / sum(self._weight(row) for row in batch))

    def _weight(self, row: Row) -> float:
        """A row of the base's own size counts as one; of larger pictures as many as have their area."""
        height, width = (side or self.base.native_px for side in row.size_px)
        return row.width * height * width / self.base.native_px**2

    def _most_rows(self, size: Size) -> int:
        return self.capacity.rows(size, free_bytes(self.base.device))

    def _note_served(self, batch: Sequence[Row], orders: Sequence[Order]) -> None:
        """Remember who got this step, of those who still wait for something."""
        self._steps += 1
        owners = {order.owner for order in orders}
        self._served = {owner: step for owner, step in self._served.items() if owner in owners}
        self._served |= {row.owner: self._steps for row in batch}

    def _begun(self, row: Row, orders: Sequence[Order]) -> bool:
        """Give a row its run; an order that cannot be begun fails by itself.

        One that finds too little memory waits while pictures of `orders` are on their way: what they hold comes back.
        """
        if row.order.finished.is_set():
            return False
        if row.run is None:
            try:
                row.run = GenerationRun(self.base, row.order.version(), row.request, self._encode)
            except Exception as error:
                check_device(self.base.device)
                short = is_out_of_memory(error)
                if not short or all(other.run is None for order in orders for other in order.rows):
                    row.order.fail(PictureTooLarge() if short else error)
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
            # Its words alone: whatever keeps the record would keep the error, and the tensors with it.
            log.warning("A step of %d pictures failed, so fewer are tried: %s", len(rows), repr(error))
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
        size, width = rows[0].size_px, sum(run.rows for run in runs)
        try:
            with measured(self.base.device) as taken, handed_attention(self.base.unet):
                denoise_step(self.base, runs, self._call)
        except Exception as error:
            if is_out_of_memory(error):
                self.capacity.fail(size, width)
            raise
        self.capacity.note(size, width, taken.seconds, taken.peak_bytes)

    def _finish_pictures(self, idle: bool) -> None:
        """Deliver what is decoded, and begin to decode a few more. idle: there is no step to take, so wait for it."""
        self._deliver_decoded(idle)
        if not self._decoding:
            self._decode_some()
        self._deliver_decoded(idle)  # on a CPU it is there by now

    def _decode_some(self) -> None:
        """The oldest of the finished pictures, as many of one size as go together; the others after the next step.

        Asked for between the steps and on this thread, done in a second stream where the device has such: on a CPU the
        autoencoder would take from the step what it needs, as both use every core, and a second thread of torch's makes
        the first one slower. The bound keeps whoever is on the way from waiting for all that became finished at once.
        """
        self._finished = [row for row in self._finished if not row.order.finished.is_set()]
        if not self._finished:
            return
        size = self._finished[0].size_px
        height, width = (side or self.base.native_px for side in size)
        most = min(DECODED_AT_ONCE, decoded_at_once(height, width))
        chosen = [row for row in self._finished if row.size_px == size][:most]
        self._finished = [row for row in self._finished if row not in chosen]
        self._together_or_fewer(chosen, self._begin_decoding)

    def _begin_decoding(self, rows: Sequence[Row]) -> None:
        latents = [row.run.latents for row in rows if row.run is not None]
        self._decoding.append((rows, self._aside.begin(lambda: self._decode(latents), latents)))

    def _decode(self, latents: Sequence[Tensor]) -> Tensor:
        """(n, 3, height, width) float32 in 0..1."""
        return self.base.decode_latents(torch.cat(list(latents)))

    def _deliver_decoded(self, wait: bool) -> None:
        """What is there, in the order of asking."""
        while self._decoding:
            rows, begun = self._decoding[0]
            try:
                if not wait and not begun.ready:
                    return
                pixels = begun.take()
            except Exception as error:
                check_device(self.base.device)
                for row in rows:
                    row.order.fail(error)
            else:
                for row, picture in zip(rows, pixels, strict=True):
                    self._deliver(row, picture)
            del self._decoding[0]

    def _deliver(self, row: Row, picture: Tensor) -> None:
        try:
            check_picture(picture)
        except NoPicture as error:
            row.order.fail(error)
        else:
            row.order.deliver(row, picture)

    def _preview(self, batch: Sequence[Row]) -> None:
        """A look at the pictures on their way, for orders where somebody asked for one: at what they will come to."""
        for order in {id(row.order): row.order for row in batch if row.order.preview_wanted}.values():
            runs = [row.run for row in order.rows if row.run is not None and not row.done]
            looks = [(run.clean, run.steps_done) for run in runs if run.clean is not None]
            if not looks or order.finished.is_set():
                continue
            try:
                clean, steps_done = looks[0]
                order.show(self._look(clean)[0].cpu(), steps_done)
            except Exception as error:  # the picture is worth more than a look at it
                check_device(self.base.device)
                order.preview_wanted = False
                log.warning("There is no look at a picture on its way: %r", error)
