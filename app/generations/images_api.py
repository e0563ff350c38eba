"""REST: pictures that were made, their files and their recipes."""

from typing import Annotated
from uuid import UUID

from fastapi import BackgroundTasks, Query, Response

from app.deps import AppState, CurrentUser, Reading, Uow
from app.errors import NotFound
from app.files import IfNoneMatch, blob_response, stream_file, thumbnail_response
from app.generations import reading, service
from app.generations.recipe import read_recipe
from app.generations.schemas import Gallery, GalleryImage, RecipeShown, show_in_gallery
from app.paging import Page, moment_after, moment_key, split_page
from app.routing import rest_router
from app.sweeping import sweep

router = rest_router("generations")


@router.get("/images")
def list_images(
    caller: CurrentUser,
    session: Reading,
    page: Page,
    history_id: UUID | None = None,
    version: Annotated[int | None, Query(ge=0)] = None,
    concept: Annotated[str | None, Query(max_length=60, description="Name of a concept in the prompt.")] = None,
) -> Gallery:
    """Every picture of the caller, the latest first."""
    found = reading.list_images(
        session,
        caller.id,
        page.limit + 1,
        history_id=history_id,
        version_number=version,
        concept=concept,
        after=moment_after(page),
    )
    rows, cursor = split_page(found, page.limit, lambda row: moment_key(row.picture.created_at, row.picture.id))
    items = [show_in_gallery(row.picture, row.history_id, row.prompt, row.version) for row in rows]
    return Gallery(items=items, next=cursor)


@router.get("/images/{image_id}")
def get_image(image_id: UUID, caller: CurrentUser, session: Reading) -> GalleryImage:
    """One picture, with what it was asked for."""
    image, asked, number = reading.get_image_asked(session, caller.id, image_id)
    return show_in_gallery(image, asked.history_id, asked.prompt, number)


@router.get("/images/{image_id}/file", response_class=Response, responses={200: {"content": {"image/png": {}}}})
def get_image_file(
    image_id: UUID, caller: CurrentUser, session: Reading, state: AppState, if_none_match: IfNoneMatch = None
) -> Response:
    """The PNG, with its recipe in its text chunks."""
    digest = reading.file_of_image(session, caller.id, image_id)
    return blob_response(state, digest, "image/png", if_none_match)


@router.get("/images/{image_id}/recipe")
def get_recipe(image_id: UUID, caller: CurrentUser, session: Reading, state: AppState) -> RecipeShown:
    """How the picture was made, read out of its file."""
    found = read_recipe(state.store.get(reading.file_of_image(session, caller.id, image_id)))
    if found is None:
        raise NotFound("There is no recipe inside this picture.")
    return RecipeShown(parameters=found.parameters, recipe=found.complete)


@router.get("/images/{image_id}/thumbnail", response_class=Response, responses={200: {"content": {"image/webp": {}}}})
def get_thumbnail(
    image_id: UUID,
    caller: CurrentUser,
    session: Reading,
    state: AppState,
    size: int = 192,
    if_none_match: IfNoneMatch = None,
) -> Response:
    """A small WebP of it. size: 96, 192 or 384 pixels."""
    digest = reading.file_of_image(session, caller.id, image_id)
    return thumbnail_response(state, digest, size, if_none_match)


@router.get(
    "/images.zip",
    summary="Download several pictures",
    response_class=Response,
    responses={200: {"content": {"application/zip": {}}}},
)
def download_zip(
    caller: CurrentUser,
    session: Reading,
    state: AppState,
    image_id: Annotated[list[UUID], Query(alias="id", min_length=1, max_length=200)],
) -> Response:
    """Several pictures in one archive."""
    archive = service.zip_images(session, state.store, caller.id, image_id)
    return stream_file(archive, "application/zip", "pictures.zip")


@router.delete("/images/{image_id}", status_code=204)
def delete_image(image_id: UUID, caller: CurrentUser, uow: Uow, state: AppState, tasks: BackgroundTasks) -> None:
    """Delete one picture. This cannot be undone; its recipe makes it again."""
    tasks.add_task(sweep, state, service.delete_images(uow, caller.id, [image_id]))
