"""Pages: the button of a remedy, which learns a version's concept again."""

from uuid import UUID

from fastapi.responses import RedirectResponse

from app.concepts.again import learn_again
from app.deps import AppState, StartingUser, Uow
from app.forms import TypedForm
from app.routing import page_router

router = page_router()


@router.post("/histories/{history_id}/versions/{number}/again")
def again(
    history_id: UUID, number: int, caller: StartingUser, uow: Uow, state: AppState, form: TypedForm
) -> RedirectResponse:
    once = form.once(caller.id, "again", history_id, number)
    job = learn_again(uow, state.settings, caller.id, history_id, number, form.text("signature"), once)
    return RedirectResponse(f"/jobs/{job.id}", 303)
