"""REST: histories, versions, head, base models."""

from uuid import UUID

from fastapi import BackgroundTasks, Response

from app.deps import AppState, CurrentUser, Reading, Uow
from app.errors import NotFound
from app.files import IfNoneMatch, blob_response
from app.histories import head, service, versions
from app.histories.schemas import (
    BaseModels,
    BaseModelShown,
    HeadChange,
    HeadMoves,
    HeadMoveShown,
    Histories,
    HistoryChange,
    HistoryShown,
    NewHistory,
    VersionChange,
    Versions,
    VersionShown,
    show_histories,
    show_history,
    show_versions,
)
from app.paging import Page, moment_after, moment_key, number_after, split_page
from app.problems import described
from app.routing import rest_router
from app.sweeping import sweep_all

router = rest_router("histories")


@router.get("/base-models")
def list_base_models(caller: CurrentUser, session: Reading) -> BaseModels:
    """Base models that workers have loaded here."""
    return BaseModels(items=[BaseModelShown.model_validate(row) for row in service.base_models(session)])


@router.get("/histories")
def list_histories(caller: CurrentUser, session: Reading, page: Page) -> Histories:
    """The caller's histories, the oldest first."""
    found = service.list_histories(session, caller.id, page.limit + 1, moment_after(page))
    rows, cursor = split_page(found, page.limit, lambda row: moment_key(row.created_at, row.id))
    return Histories(items=show_histories(session, rows), next=cursor)


@router.post("/histories", status_code=201, summary="Begin a history", responses=described(409, 503))
def create_history(new: NewHistory, caller: CurrentUser, uow: Uow, session: Reading) -> HistoryShown:
    """Begin a history on the bare base."""
    return show_history(session, service.create_history(uow, caller.id, new.name, new.base_id))


@router.get("/histories/{history_id}")
def get_history(history_id: UUID, caller: CurrentUser, session: Reading) -> HistoryShown:
    """One history, with what its head knows."""
    return show_history(session, service.get_history(session, caller.id, history_id))


@router.patch("/histories/{history_id}", summary="Rename a history, or guard its head", responses=described(409))
def change_history(
    history_id: UUID, change: HistoryChange, caller: CurrentUser, uow: Uow, session: Reading
) -> HistoryShown:
    """Give it another name; say whether a learning that does damage may move its head."""
    return show_history(
        session, service.change_history(uow, caller.id, history_id, change.name, guards_head=change.guards_head)
    )


@router.delete("/histories/{history_id}", status_code=204)
def delete_history(history_id: UUID, caller: CurrentUser, uow: Uow, state: AppState, tasks: BackgroundTasks) -> None:
    """Delete it with its versions, concepts and pictures. This cannot be undone."""
    service.delete_history(uow, caller.id, history_id)
    tasks.add_task(sweep_all, state)


@router.get("/histories/{history_id}/versions")
def list_versions(history_id: UUID, caller: CurrentUser, session: Reading, page: Page) -> Versions:
    """Every version of the tree, in the order of learning."""
    history = service.get_history(session, caller.id, history_id)
    found = versions.steps_of(session, history.id, page.limit + 1, number_after(page) or 0)
    steps, cursor = split_page(found, page.limit, lambda step: step.version.number)
    numbers = versions.numbers_in(session, history.id)
    return Versions(head=numbers[history.head_id], items=show_versions(history, numbers, steps), next=cursor)


@router.get("/histories/{history_id}/versions/{number}")
def get_version(history_id: UUID, number: int, caller: CurrentUser, session: Reading) -> VersionShown:
    """One version."""
    history = service.get_history(session, caller.id, history_id)
    if versions.get_version(session, history, number) is None:
        raise NotFound("Version 0 is the bare base: nothing was learned in it. Base models are under /base-models.")
    steps = versions.steps_of(session, history.id, 1, number - 1)
    return show_versions(history, versions.numbers_in(session, history.id), steps)[0]


@router.patch("/histories/{history_id}/versions/{number}")
def rename_version(
    history_id: UUID, number: int, change: VersionChange, caller: CurrentUser, uow: Uow, session: Reading
) -> VersionShown:
    """Give a version a name of your own."""
    versions.rename_version(uow, caller.id, history_id, number, change.label)
    return get_version(history_id, number, caller, session)


@router.get(
    "/histories/{history_id}/versions/{number}/delta",
    response_class=Response,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def download_delta(
    history_id: UUID,
    number: int,
    caller: CurrentUser,
    session: Reading,
    state: AppState,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """The learned values as one .safetensors file."""
    version = versions.get_version(session, service.get_history(session, caller.id, history_id), number)
    if version is None:
        raise NotFound("The bare base has no delta.")
    name = f"version-{number}.safetensors"
    return blob_response(state, version.delta_sha256, "application/octet-stream", if_none_match, name)


@router.post("/histories/{history_id}/head", summary="Roll back, or go forward")
def move_head(history_id: UUID, change: HeadChange, caller: CurrentUser, uow: Uow, session: Reading) -> HistoryShown:
    """Roll back, or go forward. Instant, deletes nothing, can be undone."""
    return show_history(session, head.move_head(uow, caller.id, history_id, change.version))


@router.post("/histories/{history_id}/head/undo", summary="Undo the last move of the head", responses=described(409))
def undo_head_move(history_id: UUID, caller: CurrentUser, uow: Uow, session: Reading) -> HistoryShown:
    """Put head where it was before its last move."""
    return show_history(session, head.undo_head_move(uow, caller.id, history_id))


@router.get("/histories/{history_id}/head/moves")
def list_head_moves(history_id: UUID, caller: CurrentUser, session: Reading, page: Page) -> HeadMoves:
    """Every move of the head, the latest first."""
    history = service.get_history(session, caller.id, history_id)
    numbers = versions.numbers_in(session, history.id)
    rows = head.list_head_moves(session, history.id, page.limit + 1, number_after(page))
    rows, cursor = split_page(rows, page.limit, lambda row: row.id)
    return HeadMoves(
        items=[
            HeadMoveShown(
                from_version=numbers[row.from_id],
                to_version=numbers[row.to_id],
                why=row.why,
                user_id=row.user_id,
                at=row.at,
            )
            for row in rows
        ],
        next=cursor,
    )
