"""REST: learn what a version learned once more, with a remedy of its diagnosis applied."""

from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.concepts.again import learn_again
from app.deps import AppState, Reading, StartingOnce, Uow
from app.idempotency import make_once
from app.jobs.api import IdempotencyKeyHeader
from app.jobs.schemas import JobShown, show_job
from app.problems import described
from app.routing import rest_router

router = rest_router("concepts")


class WhichRemedy(BaseModel):
    model_config = ConfigDict(json_schema_extra={"example": {"signature": "underfitting"}})
    signature: str = Field(description="Of a finding in the version's diagnosis whose `changes` are to be applied.")


@router.post(
    "/histories/{history_id}/versions/{number}/again",
    status_code=202,
    summary="Learn again with a remedy",
    responses=described(403, 409),
)
def learn_version_again(
    history_id: UUID,
    number: int,
    which: WhichRemedy,
    caller: StartingOnce,
    uow: Uow,
    session: Reading,
    state: AppState,
    idempotency_key: IdempotencyKeyHeader = None,
) -> JobShown:
    """Learn the same pictures once more, on the version below, with the changes that the remedy names.

    Head goes to the version below; this one stays in the tree.
    """
    once = make_once(caller.id, idempotency_key, "again", history_id, number, which.signature)
    job = learn_again(uow, state.settings, caller.id, history_id, number, which.signature, once)
    return show_job(session, job)
