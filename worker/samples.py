"""Sample pictures of a learning on its way: always the same prompt and seed, so that what changes is the learning."""

from functools import cached_property
from io import BytesIO
from typing import TYPE_CHECKING

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session
from torch import Tensor

from app.blobs import keep
from app.jobs.claims import LostClaim, check_held
from app.jobs.models import JobEvent, JobSample
from cns.denoise import GenerationRequest, GenerationRun, denoise_step, to_pictures
from cns.kv import handed_attention
from cns.learning import LearningRun
from cns.wording import PHOTO, speak
from worker.dropped_files import forget_files
from worker.hands import Hold
from worker.transactions import transact

if TYPE_CHECKING:
    from worker.process import Worker

QUARTERS = 4
SEED = 1


def marks(steps: int) -> list[int]:
    """The steps after which a sample is made: 0, 25, 50, 75 and 100 % of them."""
    return sorted({steps * quarter // QUARTERS for quarter in range(QUARTERS + 1)})


def sample_request(run: LearningRun) -> GenerationRequest:
    concept = run.concept
    words = f"{concept.token} {concept.class_noun}"
    return GenerationRequest(speak(PHOTO, words, concept.class_noun), seed=SEED)


class Sampler:
    """Makes one sample of a run in steps; each call of `step` is a turn on the engine's thread.

    The file is written by whoever asks for it, on a thread of their own: the device need not wait for that.
    """

    def __init__(self, run: LearningRun):
        self._learning = run
        self._run: GenerationRun | None = None
        self._pixels: Tensor | None = None

    def step(self) -> None:
        base = self._learning.base
        if self._run is None:
            self._run = GenerationRun(base, self._learning.sample_version(), sample_request(self._learning))
        with handed_attention(base.unet):
            denoise_step(base, [self._run])
        if self._run.done:
            self._pixels = base.decode_latents(self._run.latents)[0].cpu()

    def more(self) -> bool:
        return self._pixels is None

    @cached_property
    def png(self) -> bytes | None:
        """The sample, once there is nothing more to be done for it."""
        return None if self._pixels is None else png_of(self._pixels)


def png_of(pixels: Tensor) -> bytes:
    """A picture (3, height, width) in 0..1 as a PNG. Without a recipe: nobody can make it again from a version."""
    buffer = BytesIO()
    to_pictures([pixels])[0].save(buffer, "PNG")
    return buffer.getvalue()


def keep_sample(worker: "Worker", hold: Hold, step: int, png: bytes) -> None:
    """Store a sample and tell of it, once, however often it is made. LostClaim for an attempt that is over.

    The file first, as nobody could renew the job's lease while its row is locked, and a disk may keep us waiting.
    """
    kept: list[str] = []

    def write(session: Session) -> None:
        digest = keep(session, worker.store, png, "image/png")
        kept[:] = [digest]
        check_held(session, hold.claim)
        made = insert(JobSample).values(job_id=hold.job_id, step=step, blob_sha256=digest)
        made = made.on_conflict_do_update(  # that of an attempt before gives way, unless it is the same
            index_elements=[JobSample.job_id, JobSample.step],
            set_={"blob_sha256": digest},
            where=JobSample.blob_sha256 != digest,
        )
        if session.execute(made.returning(JobSample.step)).scalar() is not None:
            session.add(JobEvent(job_id=hold.job_id, kind="sample", data={"step": step, "sha256": digest}))

    try:
        transact(worker.sessions, write)
    except LostClaim:
        forget_files(worker, kept)
        raise
    worker.bell.wake(hold.job_id)
