"""The parts of one worker process, put together: started before the first task comes, stopped after the last."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar
from uuid import UUID

import torch
from torch import Tensor

import app.tables  # noqa: F401 - a row can be written only where the tables that it refers to are known
from app.config import Settings
from app.db import Send, Sessions, make_engine, make_sessions
from app.jobs.models import LANE, JobKind
from app.old_thumbnails import remove_old_thumbnails
from app.queue import own_queue_of, queue_of
from app.stores import open_store
from cns.base_model import BaseModel
from cns.kv import predict
from worker.bell import Bell
from worker.compiled_steps import CompiledSteps
from worker.compiling import Compiler
from worker.engine import Engine
from worker.equipment import Equipment, load_equipment
from worker.hands import Hands
from worker.pace import Pace
from worker.recent import Recent
from worker.reports import forget_worker, report_base, report_worker
from worker.sweep import Sweep
from worker.together import Together, rows_together
from worker.transactions import AWAY
from worker.versions import Versions

log = logging.getLogger(__name__)
T = TypeVar("T")
MOST_MADE_BYTES = 500_000_000  # pictures of examinations: the next one needs many of them again
LEARNING_HANDS = 4  # one hand in so many may hold a learning
ONES_SHARE = 0.75  # of the hands, for generations of one person: with learnings beside them a hand of 16 is left over


class Worker:
    """What every job of this process shares.

    made: pictures of examinations, touched on the engine's thread alone. learning_slots: how many learnings may be in
    hand at a time; they share one device, so more at a time finish little sooner, and generations need free hands.
    most_of_one: how many jobs of a kind one person may have in hand, so that whoever comes next finds a hand free.
    """

    def __init__(self, settings: Settings, equipment: Equipment, send: Send):
        self.settings, self.equipment = settings, equipment
        self.id = f"{socket.gethostname()}:{os.getpid()}:{int(time.time())}"
        self.database = make_engine(settings.database_url)
        self.sessions: Sessions = make_sessions(self.database)
        self.store = open_store(settings)
        self.bell = Bell(settings.redis_url)
        self.hands = Hands(self.sessions, self.id, settings.lease, settings.heartbeat_s)
        self.versions = Versions(equipment.base, self.store, settings.version_cache_bytes, settings.prompt_cache_bytes)
        self.compiled_steps = compiled_steps(settings, equipment.base)
        self.engine = Engine(
            equipment.base,
            batch_rows=settings.batch_rows,
            learning_share=settings.learning_share,
            together=Together(
                equipment.base.device, rows_together(settings, equipment.base.device), self.note_learning
            ),
            encode=self.versions.prompts.encode,
            preview=equipment.preview,
            call=self.compiled_steps or predict,
            on_death=end_at_once,
        )
        self.made: Recent[str, Tensor] = Recent(MOST_MADE_BYTES, lambda picture: picture.nbytes)
        self.most_learnings = max(1, settings.worker_threads // LEARNING_HANDS)
        self.learning_slots = threading.BoundedSemaphore(self.most_learnings)
        generations = max(1, int(ONES_SHARE * settings.worker_threads))
        self.most_of_one = dict.fromkeys(LANE, max(1, self.most_learnings - 1)) | {JobKind.GENERATE: generations}
        self.captioning = threading.Lock()  # held by the thread that writes captions for teaching pages
        self.learning_pace = Pace()  # of one row of one optimiser step
        self.learning_peak_bytes: int | None = None  # of the GPU's memory, in the last optimiser step
        self.sweep = Sweep(self)
        self._send = send

    @classmethod
    def load(cls, settings: Settings, send: Send) -> "Worker":
        """With the base model of the settings. CnsError when it cannot be loaded."""
        begun = time.monotonic()
        # On a CPU every thread that has used torch keeps helpers of its own, and with more helpers than cores none of
        # them waits ready for work: learning on the engine's thread then takes two thirds longer. Those of a thread
        # that has ended are gone with it.
        with ThreadPoolExecutor(1, thread_name_prefix="loading") as loading:
            equipment = loading.submit(load_equipment, settings).result()
        base = equipment.base
        log.info("Loaded %s on %s in %.1f s.", equipment.name, base.device, time.monotonic() - begun)
        return cls(settings, equipment, send)

    def start(self) -> None:
        remove_old_thumbnails(self.settings)  # before anything is erased here, and proved to be
        try:
            report_base(self, patience_s=0)
        except AWAY as error:
            log.warning("The database is away; the worker starts when it is back: %s", str(error).splitlines()[0])
            report_base(self)
            self.sweep.be_patient()  # whoever is alive could renew no lease either
        report_worker(self)
        self.hands.on_beat = self._beat
        self.engine.start()
        self.hands.start()
        self.sweep.start()

    def stop(self) -> None:
        """Take nothing new and put down what is in hand; the tasks end by themselves within seconds."""
        self.hands.stop()
        self.sweep.stop()
        if self.compiled_steps is not None:
            self.compiled_steps.stop()

    def close(self) -> None:
        """When no task runs any more."""
        self.stop()
        self.engine.stop(timeout_s=5)
        self.sweep.end()
        self.hands.end()
        forget_worker(self)
        self.bell.drop_queue(own_queue_of(self.id))
        self.bell.close()
        self.database.dispose()

    def ring(self, task: str, job_id: UUID) -> bool:
        """Send the message for a job; whether it left. A broker that is away is no harm: the sweep rings again."""
        try:
            self._send(task, kwargs={"job_id": str(job_id)}, queue=queue_of(task, self.equipment.base.id))
        except Exception as error:  # whatever the client raises when the broker is away
            log.warning("The broker is away, so job %s waits for a sweep: %s", job_id, error)
            return False
        return True

    @property
    def free_learning_slots(self) -> int:
        return self.most_learnings - sum(hold.kind in LANE for hold in self.hands.held())

    def note_learning(self, step: Callable[[], T], rows: int) -> T:
        """Take a learning step; note its peak, and its pace, from which pages estimate how long a learning takes."""
        device, begun = self.equipment.base.device, time.monotonic()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        answer = step()
        if device.type == "cuda":
            self.learning_peak_bytes = torch.cuda.max_memory_allocated(device)
        self.learning_pace.note((time.monotonic() - begun) / rows)
        return answer

    def _beat(self) -> None:
        """Without patience, as leases wait for the same thread."""
        report_worker(self, patience_s=0)
        report_base(self, patience_s=0)


def compiled_steps(settings: Settings, base: BaseModel) -> CompiledSteps | None:
    """Steps that are compiled when they come often, where the settings ask for them."""
    return CompiledSteps(base, Compiler(base)) if settings.compile_step == "auto" else None


def end_at_once() -> None:
    """The device is gone, so nothing can be finished, and handing jobs back would hide which of them did it.

    Their leases run out, which is counted; whoever watches over this process starts it anew.
    """
    log.critical("The device cannot be used any more; this worker ends.")
    os._exit(1)
