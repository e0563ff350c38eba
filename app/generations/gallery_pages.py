"""Pages: everything that was made, and one picture large, with whatever can be done with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

from fastapi import BackgroundTasks, Query, Request
from fastapi.responses import RedirectResponse, Response

from app.calls import json_call
from app.deps import AppState, CurrentUser, Reading, Uow
from app.errors import Invalid
from app.forms import TypedForm
from app.generations import reading, service, studio
from app.generations.models import Generation, Image
from app.generations.regions import in_order, prompts_of
from app.histories.models import History
from app.histories.service import get_history_with_base, list_histories
from app.histories.versions import steps_in
from app.paging import moment_key, open_cursor, read_moment_key, split_page
from app.routing import page_router
from app.sweeping import sweep
from app.templating import address, address_of_site, is_fragment, render

router = page_router()

ON_A_PAGE = 60
MOST_AT_ONCE = 200  # pictures that one press deletes or packs


@dataclass(frozen=True)
class Filter:
    """What the gallery shows. Nothing given: everything."""

    history_id: UUID | None
    version: int | None
    concept: str | None

    @property
    def rest(self) -> str:
        """The same over REST."""
        return address("/images", history_id=self.history_id, version=self.version, concept=self.concept)

    @property
    def is_any(self) -> bool:
        return self.history_id is not None or self.version is not None or self.concept is not None


@router.get("/gallery")
def show_gallery(
    request: Request,
    caller: CurrentUser,
    session: Reading,
    history: str = "",
    version: str = "",
    concept: Annotated[str, Query(max_length=70)] = "",
    cursor: Annotated[str | None, Query(max_length=400)] = None,
) -> Response:
    """Everything the caller made, the latest first; as a fragment, the next pictures of it."""
    wanted = Filter(_id_or_none(history), _number_or_none(version), concept.strip("<> ") or None)
    rows = reading.list_images(
        session,
        caller.id,
        ON_A_PAGE + 1,
        history_id=wanted.history_id,
        version_number=wanted.version,
        concept=wanted.concept,
        after=read_moment_key(open_cursor(cursor)) if cursor else None,
    )
    shown, following = split_page(rows, ON_A_PAGE, lambda row: moment_key(row.picture.created_at, row.picture.id))
    more = following and address(
        "/gallery", history=wanted.history_id, version=wanted.version, concept=wanted.concept, cursor=following
    )
    histories = list_histories(session, caller.id)
    about: dict[str, Any] = {"rows": shown, "more": more, "pixelated": _pixelated(histories)}
    if cursor and is_fragment(request):
        return render(request, "gallery/more.html", caller, **about)
    chosen = [one.id for one in histories if wanted.history_id in (None, one.id)]
    steps = [step for of_one in steps_in(session, chosen).values() for step in of_one]
    return render(
        request,
        "gallery/page.html",
        caller,
        place="gallery",
        wanted=wanted,
        histories=histories,
        concepts=sorted({step.concept.name for step in steps}),
        versions=sorted({step.version.number for step in steps}),
        is_first=cursor is None,
        most_at_once=MOST_AT_ONCE,
        call=json_call("List these pictures", address_of_site(request), "GET", wanted.rest),
        **about,
    )


def _id_or_none(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _number_or_none(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 9 else None


def _pixelated(histories: Sequence[History]) -> set[UUID]:
    """Those whose base makes pictures so small that their pixels are shown as they are."""
    return {history.id for history in histories if history.base.facts.get("pixelated")}


@router.post("/gallery/delete")
def delete_pictures(
    request: Request, caller: CurrentUser, uow: Uow, state: AppState, form: TypedForm, tasks: BackgroundTasks
) -> Response:
    """Delete the ticked pictures, or the one of a page or of the viewer."""
    ids = form.ids("id")
    if not ids:
        raise Invalid("No picture was chosen. Tick those that shall go, then press Delete.")
    if len(ids) > MOST_AT_ONCE:
        raise Invalid(f"At most {MOST_AT_ONCE} pictures can be deleted at once.")
    tasks.add_task(sweep, state, service.delete_images(uow, caller.id, ids))
    if is_fragment(request):
        return Response(status_code=204)  # the page that shows it takes it away by itself
    return RedirectResponse(form.back("/gallery"), 303)


@router.get("/images/{image_id}")
def show_image(request: Request, image_id: UUID, caller: CurrentUser, session: Reading) -> Response:
    """One picture with its recipe; as a fragment, for the viewer."""
    image, made, version = reading.get_image_asked(session, caller.id, image_id)
    desk = studio.desk_of(session, get_history_with_base(session, caller.id, made.history_id))
    names = service.TOKEN.findall(" ".join([made.prompt, made.negative_prompt, *prompts_of(made.regions)]))
    return render(
        request,
        "gallery/image.html" if is_fragment(request) else "gallery/image_page.html",
        caller,
        place="gallery",
        image=image,
        made=made,
        desk=desk,
        version=version,
        others=[choice for choice in desk.choices if choice.number != version and set(names) <= set(choice.knows)],
        call=json_call(
            "Make this picture",
            address_of_site(request),
            "POST",
            f"/histories/{made.history_id}/generations",
            {"prompt": made.prompt, **_rest(made, image, version)},
        ),
    )


def _rest(made: Generation, image: Image, version: int) -> dict[str, object]:
    negative = {"negative_prompt": made.negative_prompt} if made.negative_prompt else {}
    regions = {"regions": in_order(made.regions)} if made.regions else {}
    mixed = {} if made.apart else {"apart": False}
    return {
        **negative,
        **regions,
        **mixed,
        "version": version,
        "seed": image.seed,
        "steps": made.steps,
        "guidance": made.guidance,
        "sampler": made.sampler,
        "width_px": made.width_px,
        "height_px": made.height_px,
    }
