"""A line of versions made anew is published: one transaction for all of its versions, the head and its log."""

from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.forgettings.erasing import erase_rows, knowing
from app.forgettings.service import forgetting_of
from app.histories.head import point_head
from app.histories.models import HeadMove, History, Version
from app.jobs.claims import end, keep_for_publishing
from app.jobs.models import Job, JobState
from worker.errors import ClaimGone
from worker.hands import Hold
from worker.publishing import Learned, add_version
from worker.transactions import transact

if TYPE_CHECKING:
    from worker.process import Worker


def publish_line(
    worker: "Worker",
    hold: Hold,
    *,
    history_id: UUID,
    line_end: UUID,
    parent_id: UUID | None,
    concept_ids: Sequence[UUID],
    line: Sequence[Learned],
) -> None:
    """Add `line` on top of `parent_id`, and move head from `line_end` to its last version.

    Head stays where its user put it meanwhile, unless that is a version that is erased. Without erasure the job is done
    with that; with it, the rows that knew the concept are gone in the same transaction, and their bytes are noted for
    what comes next. concept_ids: of each version of the line. CancelCameFirst when it is to be cancelled: later it
    cannot be.
    """
    for learned in line:
        worker.store.put(learned.delta.to_bytes())  # outside of the transaction, as it waits for the disk

    def write(session: Session) -> None:
        # All jobs of the history first, as whoever deletes a history does: so that neither waits for ever.
        session.execute(select(Job.id).where(Job.history_id == history_id).order_by(Job.id).with_for_update())
        keep_for_publishing(session, hold.claim)
        own, forgetting = session.get_one(Job, hold.job_id), forgetting_of(session, hold.job_id)
        if forgetting.published_at is not None:
            return  # by this attempt, when the answer to its commit was lost: the job goes on, so its claim still holds
        history = session.scalar(select(History).where(History.id == history_id).with_for_update())
        if history is None:
            raise ClaimGone
        made = _add_versions(worker, session, history, parent_id, concept_ids, line)
        to_id = made[-1].id if made else parent_id
        doomed = list(knowing(session, history.id, forgetting.name)) if forgetting.erase else []
        why = f"forgot {forgetting.name}"
        if history.head_id in {version.id for version in doomed}:
            # A move that came from an erased version would go with it; and without any, whoever undoes the last one
            # would undo the one before, which was none of this.
            move = HeadMove(history_id=history.id, user_id=own.owner_id, from_id=parent_id, to_id=to_id, why=why)
            session.add(move)
            history.head_id = to_id
        elif history.head_id == line_end:
            point_head(session, history, to_id, own.owner_id, why)
        forgetting.versions = [version.number for version in made]
        forgetting.published_at = session.scalar(select(func.now()))
        if not forgetting.erase:
            end(session, hold.claim, JobState.DONE)
            return
        own.checkpoint_sha256 = None
        forgetting.proof = {"versions": [version.number for version in doomed]}
        history.highest_erased = max([history.highest_erased, *forgetting.proof["versions"]])
        forgetting.doomed = [{"sha256": one.sha256, "what": one.what} for one in erase_rows(session, forgetting)]

    transact(worker.sessions, write)
    worker.bell.wake(hold.job_id)


def _add_versions(
    worker: "Worker",
    session: Session,
    history: History,
    parent_id: UUID | None,
    concept_ids: Sequence[UUID],
    line: Sequence[Learned],
) -> list[Version]:
    made: list[Version] = []
    for concept_id, learned in zip(concept_ids, line, strict=True):
        below = made[-1].id if made else parent_id
        made.append(add_version(worker, session, history, learned, parent_id=below, concept_id=concept_id))
    return made
