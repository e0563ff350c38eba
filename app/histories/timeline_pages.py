"""Pages: the tree of versions, one version in plain words, going back and forth, two versions side by side."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import Query, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy.orm import Session

from app.calls import json_call
from app.deps import AppState, Caller, CurrentUser, Reading, StartingUser, Uow, check_may_start
from app.errors import AppError, NotFound
from app.forgettings.service import list_forgettings
from app.forms import AnswerableError, TypedForm, errors_of, new_once
from app.generations import service as generations
from app.histories import head, service, versions
from app.histories.models import History
from app.histories.views import open_generations, pairs_of, show_version, timeline_of
from app.jobs.service import queue_places
from app.routing import page_router
from app.templating import address, address_of_site, is_fragment, render
from app.wording import prompt_about

router = page_router()

FIXED_SEED = 1
MOVES_SHOWN = 8


@router.get("/histories/{history_id}/timeline")
def show_timeline(
    request: Request,
    history_id: UUID,
    caller: CurrentUser,
    session: Reading,
    version: Annotated[int | None, Query(ge=0)] = None,
    moved: Annotated[bool, Query(description="Head was just moved: offer to undo it.")] = False,
) -> Response:
    """The tree with one version opened; as a fragment, that version alone."""
    history = service.get_history_with_base(session, caller.id, history_id)
    timeline = timeline_of(session, history)
    number = timeline.head if version is None else version
    if number not in timeline.entries:
        raise NotFound(f"This history has no version {number}.")
    site = address_of_site(request)
    about: dict[str, Any] = {
        "timeline": timeline,
        "shown": show_version(session, timeline, number),
        "seed": FIXED_SEED,
        "once": new_once(),
        "head_call": json_call(
            "Go to this version", site, "POST", f"/histories/{history.id}/head", {"version": number}
        ),
        "list_call": json_call("List the versions", site, "GET", f"/histories/{history.id}/versions"),
    }
    if is_fragment(request):
        return render(request, "timeline/version.html", caller, **about)
    numbers = {entry.step.version.id if entry.step else None: entry.number for entry in timeline.entries.values()}
    moves = head.list_head_moves(session, history.id, MOVES_SHOWN)
    return render(
        request,
        "timeline/page.html",
        caller,
        place="timeline",
        moves=[(move, numbers.get(move.from_id, 0), numbers.get(move.to_id, 0)) for move in moves],
        moved=moved,
        forgettings=list_forgettings(session, history.id),
        **about,
    )


@router.post("/histories/{history_id}/head")
def move_head(history_id: UUID, caller: CurrentUser, uow: Uow, form: TypedForm) -> RedirectResponse:
    """Go to a version; on to teaching, when a branch is wanted."""
    number = form.whole("version", "The version")
    if number is None:
        raise NotFound("There is no version without a number.")
    head.move_head(uow, caller.id, history_id, number)
    if form.text("then") == "teach":
        return RedirectResponse(f"/histories/{history_id}/teach", 303)
    return RedirectResponse(f"/histories/{history_id}/timeline?moved=true", 303)


@router.post("/histories/{history_id}/head/undo")
def undo(history_id: UUID, caller: CurrentUser, uow: Uow, form: TypedForm) -> RedirectResponse:
    """Only the move that the form's page showed as the last: what it says of it would not hold for another one."""
    head.undo_head_move(uow, caller.id, history_id, form.whole("move", "The move"))
    return RedirectResponse(f"/histories/{history_id}/timeline?moved=true", 303)


@router.post("/histories/{history_id}/versions/{number}/label")
def label(history_id: UUID, number: int, caller: CurrentUser, uow: Uow, form: TypedForm) -> RedirectResponse:
    versions.rename_version(uow, caller.id, history_id, number, form.text("label"))
    return RedirectResponse(f"/histories/{history_id}/timeline?version={number}", 303)


@router.post("/histories/{history_id}/versions/{number}/draw")
def draw_each(
    history_id: UUID,
    number: int,
    caller: StartingUser,
    session: Reading,
    uow: Uow,
    state: AppState,
    form: TypedForm,
) -> RedirectResponse:
    """Ask for one picture of every concept that a version knows, always with the same seed."""
    history = service.get_history_with_base(session, caller.id, history_id)
    facts = history.base.facts
    version = versions.get_version(session, history, number)
    for name, noun in versions.known_names(session, history, version.id if version else None).items():
        generations.ask(
            uow,
            state.settings,
            caller.id,
            history_id,
            prompt=prompt_about(name, noun, facts),
            version_number=number,
            seed=FIXED_SEED,
            once=form.once(caller.id, "draw", history_id, number, name),
        )
    return RedirectResponse(f"/histories/{history_id}#results", 303)


@router.get("/histories/{history_id}/compare")
def compare(
    request: Request,
    history_id: UUID,
    caller: CurrentUser,
    session: Reading,
    left: Annotated[int | None, Query(ge=0)] = None,
    right: Annotated[int | None, Query(ge=0)] = None,
) -> Response:
    """Pictures of two versions with the same prompts and seeds, one laid over the other."""
    history = service.get_history_with_base(session, caller.id, history_id)
    if right is None:
        right = versions.number_of(session, history.head_id)
    if left is None:
        newer = versions.get_version(session, history, right)
        left = versions.number_of(session, newer.parent_id) if newer else 0
    return _compare(request, caller, session, history, left, right)


def _compare(
    request: Request,
    caller: Caller,
    session: Session,
    history: History,
    left: int,
    right: int,
    values: Mapping[str, str] | None = None,
    error: AppError | None = None,
) -> Response:
    compared = [versions.get_version(session, history, number) for number in (left, right)]
    knows = [versions.known_names(session, history, one.id if one else None) for one in compared]
    pairs = pairs_of(session, history, *compared)
    both_know = [(name, noun) for name, noun in knows[1].items() if name in knows[0]]
    suggestion = _suggestion(both_know, history.base.facts)
    prompt = (values or {}).get("prompt") or (pairs[0][0] if pairs else suggestion)
    asked = {"prompt": prompt, "seed": FIXED_SEED, "count": 2}
    coming = open_generations(session, history, *compared)
    places = queue_places(session, [job for _, job in coming])
    site, path = address_of_site(request), f"/histories/{history.id}/generations"
    return render(
        request,
        "timeline/compare.html",
        caller,
        status=error.status if error else 200,
        place="timeline",
        timeline=timeline_of(session, history),
        left=left,
        right=right,
        pairs=pairs,
        coming=[(made, job, places.get(job.id)) for made, job in coming],
        suggestion=suggestion,
        seed=FIXED_SEED,
        once=new_once(),
        calls=[
            json_call(f"Draw this at version {number}", site, "POST", path, {**asked, "version": number})
            for number in (left, right)
        ],
        values=values or {},
        errors=errors_of(error) if error else {},
    )


def _suggestion(both_know: Sequence[tuple[str, str]], facts: Mapping[str, Any]) -> str:
    """A prompt that both versions can draw."""
    return prompt_about(*both_know[-1], facts) if both_know else "a photo of a red mug"


@router.post("/histories/{history_id}/compare")
def draw_both(
    request: Request,
    history_id: UUID,
    caller: CurrentUser,
    session: Reading,
    uow: Uow,
    state: AppState,
    form: TypedForm,
) -> Response:
    """Ask for the same pictures at both versions, or for none when one of them cannot."""
    history = service.get_history_with_base(session, caller.id, history_id)
    numbers = [form.whole("left", "The version") or 0, form.whole("right", "The version") or 0]
    try:
        check_may_start(state, caller, session)
        prompt, seed = form.text("prompt"), form.whole("seed", "The seed")
        count = form.whole("count", "The number of pictures") or 2
        for number in numbers:
            version = versions.get_version(session, history, number)
            version_id = version.id if version else None
            known = generations.names_in_prompts(session, history, version_id, history.base.facts)
            generations.check_tokens(prompt, known)
        for number in numbers:
            generations.ask(
                uow,
                state.settings,
                caller.id,
                history_id,
                prompt=prompt,
                version_number=number,
                seed=FIXED_SEED if seed is None else seed,
                count=count,
                once=form.once(caller.id, "compare", history_id, number),
            )
    except AnswerableError as error:
        return _compare(request, caller, session, history, numbers[0], numbers[1], form.values, error)
    return RedirectResponse(address(f"/histories/{history_id}/compare", left=numbers[0], right=numbers[1]), 303)
