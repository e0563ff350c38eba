"""Pages: teach a concept. Pictures are checked and kept as soon as they are dropped, and wait for Start."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from uuid import UUID

from fastapi import BackgroundTasks, Request
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse, Response
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.datastructures import UploadFile

from app.accounts.usage import check_room
from app.concepts import service
from app.concepts.captions import Offer, captions_for, offers, written_captions
from app.concepts.models import Upload
from app.concepts.remarks import remarks_on, remarks_on_all
from app.concepts.sample_concepts import EMBEDDED, read_sample, sample_concept, sample_concepts
from app.concepts.settings_form import FIELDS, read_settings_form
from app.config import Settings
from app.db import UnitOfWork
from app.deps import AppState, Caller, CurrentUser, Reading, Uow, check_may_start, give_back
from app.errors import AppError, Invalid, TooLarge
from app.files import IfNoneMatch, thumbnail_response
from app.forms import AnswerableError, Typed, TypedForm, errors_of, new_once
from app.generations.studio import first_pictures, known_of
from app.histories.service import base_of, get_history
from app.histories.versions import lineage
from app.jobs.models import Job
from app.pictures import check_picture, shown_name
from app.routing import page_router
from app.state import State
from app.sweeping import sweep
from app.templating import is_fragment, render
from app.turns import decodes_pictures
from app.wording import around_words

router = page_router()

THINGS = ("dog", "cat", "mug", "robot", "house", "toy", "backpack", "teapot", "car", "flower", "person")
MANNERS = ("drawing", "painting", "style")


@router.get("/histories/{history_id}/teach")
def show_teach(
    request: Request, history_id: UUID, caller: CurrentUser, session: Reading, state: AppState, sample: str = ""
) -> Response:
    """The form, with the pictures that wait since it was left."""
    values: dict[str, Any] = {}
    if sample:
        base = base_of(session, get_history(session, caller.id, history_id))
        chosen = sample_concept(base.facts["name"], sample)
        values = {"name": chosen.name, "class_noun": chosen.class_noun}
    return _teach(request, caller, session, state, history_id, values)


@router.post("/histories/{history_id}/teach")
@decodes_pictures(lambda values: bool(values["form"].files))
def teach(
    request: Request,
    history_id: UUID,
    caller: CurrentUser,
    session: Reading,
    uow: Uow,
    state: AppState,
    form: TypedForm,
    tasks: BackgroundTasks,
) -> Response:
    """Start, and follow it; or the form again. Files that came with the form are kept if they can be used."""
    get_history(session, caller.id, history_id)
    refused = _keep_files(uow, state, caller, session, form.files)
    if drop := form.text("drop"):
        tasks.add_task(sweep, state, [service.drop_upload(uow, caller.id, _id(drop))])
        return _teach(request, caller, session, state, history_id, form.values, refused=refused)
    uploads = waiting_uploads(session, caller.id)
    wanted = set(form.ids("upload"))
    # Pictures that came with this very form have no number yet in its fields; all that wait belong to it then.
    chosen = uploads if form.files else [upload for upload in uploads if upload.id in wanted]
    if refused:
        errors = {"pictures": "Some files were left out; the others are kept. Start again when you are content."}
        return _teach(request, caller, session, state, history_id, form.values, errors, 422, refused)
    try:
        job = _start(uow, state, caller, session, history_id, form, chosen, wanted)
    except AnswerableError as error:
        return _teach(request, caller, session, state, history_id, form.values, errors_of(error), error.status)
    return RedirectResponse(f"/jobs/{job.id}", 303)


def _start(
    uow: UnitOfWork,
    state: State,
    caller: Caller,
    session: Session,
    history_id: UUID,
    form: Typed,
    chosen: Sequence[Upload],
    wanted: set[UUID],
) -> Job:
    check_may_start(state, caller, session)
    lost = wanted - {upload.id for upload in chosen}
    ids = [upload.id for upload in chosen]
    base = base_of(session, get_history(session, caller.id, history_id))
    shown = offers(ids, written_captions(session, base.id, ids), form.values, base.facts)
    once = form.once(caller.id, "teach", history_id, sorted(str(one) for one in wanted))
    return service.start_learning(
        uow,
        state.store,
        state.settings,
        caller.id,
        history_id,
        name=form.text("name"),
        class_noun=form.text("class_noun"),
        upload_ids=[*ids, *lost],  # a lost one is refused with its sentence
        captions=[shown[upload_id].text for upload_id in ids] + [""] * len(lost),
        settings=read_settings_form(form),
        once=once,
    )


def _keep_files(
    uow: UnitOfWork, state: State, caller: Caller, session: Session, files: Sequence[UploadFile]
) -> list[str]:
    """Keep what can be used; returns a sentence for each file that cannot."""
    refused = []
    for place, file in enumerate(files):
        try:
            if place >= state.settings.max_files:  # before it is looked at, as those that are refused take time too
                raise _too_many(file, state.settings)
            _keep(uow, state, caller, session, file)
        except AppError as error:
            refused.append(error.message)
    return refused


def _keep(uow: UnitOfWork, state: State, caller: Caller, session: Session, file: UploadFile) -> Upload:
    limits = state.settings
    if len(waiting_uploads(session, caller.id)) >= limits.max_files:
        raise _too_many(file, limits)
    check_room(session, caller.id, limits.user_quota_bytes)
    give_back(session)
    data = file.file.read(limits.max_file_bytes + 1)
    return service.keep_upload(uow, state.store, caller.id, check_picture(data, file.filename or "", limits))


def _too_many(file: UploadFile, limits: Settings) -> TooLarge:
    name = shown_name(file.filename or "")
    return TooLarge(f"{name}: {limits.max_files} pictures are the most that one concept takes.")


def waiting_uploads(session: Session, owner_id: UUID) -> Sequence[Upload]:
    return session.scalars(
        select(Upload).where(Upload.owner_id == owner_id).order_by(Upload.created_at, Upload.id)
    ).all()


def _teach(
    request: Request,
    caller: Caller,
    session: Session,
    state: State,
    history_id: UUID,
    values: Any,
    errors: dict[str, str] | None = None,
    status: int = 200,
    refused: Sequence[str] = (),
) -> Response:
    session.expire_all()
    history = get_history(session, caller.id, history_id)
    facts = base_of(session, history).facts
    line = lineage(session, history, history.head_id)
    uploads = waiting_uploads(session, caller.id)
    written = captions_for(state.unit_of_work(), caller.id, history_id) if uploads else {}
    names = {field.name for field in FIELDS}
    return render(
        request,
        "teach/page.html",
        caller,
        status=status,
        place="teach",
        history=history,
        facts=facts,
        fields=FIELDS,
        known=known_of(line, first_pictures(session, [step.concept.id for step in line])),
        samples=sample_concepts(facts.get("name", "")),
        uploads=uploads,
        around=around_words(str(values.get("class_noun") or ""), facts),
        offers=offers([upload.id for upload in uploads], written, values, facts),
        remarks=remarks_on(session, caller.id, uploads),
        remark_on_all=remarks_on_all(len(uploads)),
        limits=state.settings,
        nouns=THINGS + MANNERS,
        values=values,
        errors=errors or {},
        settings_are_wrong=bool(errors and names & errors.keys()),
        settings_are_typed=any(values.get(name) for name in names),
        refused=refused,
        once=new_once(),
    )


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Invalid("There is no such picture.") from None


# --- pictures that wait --------------------------------------------------------------------------------------------


@router.post("/uploads")
@decodes_pictures()
def upload(
    request: Request, caller: CurrentUser, session: Reading, uow: Uow, state: AppState, form: TypedForm
) -> Response:
    """One file, as it is dropped: its card with a thumbnail, or a card that says why not."""
    if not form.files:
        raise Invalid("There is no file in this request.", "pictures")
    file = form.files[0]
    try:
        kept = _keep(uow, state, caller, session, file)
    except AppError as error:
        return render(request, "teach/refused.html", caller, status=error.status, sentence=error.message)
    together = waiting_uploads(session, caller.id)
    remarks = remarks_on(session, caller.id, together).get(kept.id, [])
    return render(request, "teach/upload.html", caller, upload=kept, remarks_here=remarks, offer=Offer(), status=201)


@router.post("/histories/{history_id}/captions")
def show_captions(history_id: UUID, caller: CurrentUser, uow: Uow) -> JSONResponse:
    """Upload -> {template, subject} by the captioner; null while it has not looked. Asks for those never asked for."""
    known = captions_for(uow, caller.id, history_id)
    return JSONResponse({str(upload_id): written and asdict(written) for upload_id, written in known.items()})


@router.post("/uploads/{upload_id}/drop", status_code=204)
def drop(
    request: Request,
    upload_id: UUID,
    caller: CurrentUser,
    session: Reading,
    uow: Uow,
    state: AppState,
    tasks: BackgroundTasks,
) -> Response:
    """Take a waiting picture away. As a fragment: what is worth knowing about the others now."""
    give_back(session)
    tasks.add_task(sweep, state, [service.drop_upload(uow, caller.id, upload_id)])
    if not is_fragment(request):
        return Response(status_code=204)
    left = waiting_uploads(session, caller.id)
    return render(request, "teach/all_remarks.html", caller, uploads=left, remarks=remarks_on(session, caller.id, left))


@router.get("/uploads/{upload_id}/thumbnail")
def show_upload(
    upload_id: UUID, caller: CurrentUser, session: Reading, state: AppState, if_none_match: IfNoneMatch = None
) -> Response:
    digest = service.get_upload(session, caller.id, upload_id).blob_sha256
    return thumbnail_response(state, digest, 192, if_none_match)


# --- samples -------------------------------------------------------------------------------------------------------


@router.get("/samples/{name}/picture")
def show_sample(name: str, caller: CurrentUser) -> Response:
    """What a sample concept looks like: the first of its pictures."""
    kept = {"Cache-Control": "private, max-age=86400"}
    return FileResponse(sample_concept(EMBEDDED, name).pictures[0], media_type="image/png", headers=kept)


@router.post("/histories/{history_id}/samples/{name}")
@decodes_pictures()
def take_sample(
    history_id: UUID,
    name: str,
    caller: CurrentUser,
    session: Reading,
    uow: Uow,
    state: AppState,
    tasks: BackgroundTasks,
) -> RedirectResponse:
    """Put the pictures of a sample concept into the form, in place of those that wait."""
    base = base_of(session, get_history(session, caller.id, history_id))
    sample = sample_concept(base.facts["name"], name)
    check_room(session, caller.id, state.settings.user_quota_bytes)
    before = [waiting.id for waiting in waiting_uploads(session, caller.id)]
    give_back(session)
    for picture in read_sample(sample, state.settings):
        service.keep_upload(uow, state.store, caller.id, picture)
    for upload_id in before:  # not until the others are here: whoever has no room, or no storage, keeps what they had
        tasks.add_task(sweep, state, [service.drop_upload(uow, caller.id, upload_id)])
    return RedirectResponse(f"/histories/{history_id}/teach?sample={sample.name}", 303)
