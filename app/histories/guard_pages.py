"""Pages: whether a version whose learning did damage is put to use."""

from uuid import UUID

from fastapi.responses import RedirectResponse

from app.deps import CurrentUser, Uow
from app.forms import TypedForm
from app.histories import service
from app.routing import page_router

router = page_router()


@router.post("/histories/{history_id}/guard")
def guard(history_id: UUID, caller: CurrentUser, uow: Uow, form: TypedForm) -> RedirectResponse:
    """A box that is not ticked is not sent."""
    service.change_history(uow, caller.id, history_id, guards_head=bool(form.text("guards_head")))
    return RedirectResponse(f"/histories/{history_id}/timeline", 303)
