"""What is said about pictures before a concept is taught from them."""

from io import BytesIO

import numpy as np
from PIL import Image, ImageFilter

from app.concepts.models import Upload
from app.concepts.pages import waiting_uploads
from app.concepts.remarks import remarks_on, remarks_on_all
from app.concepts.service import keep_upload
from app.config import Settings
from app.db import Sessions, UnitOfWork
from app.pictures import check_picture
from app.sharpness import is_blurred
from app.storage import BlobStore
from tests.app.person import Person, png
from tests.app.test_pages import Ask, ask  # noqa: F401 - a fixture


def photograph(blur: float = 0) -> Image.Image:
    """Shapes in front of a gradient with a grain, as a camera gives them."""
    rng = np.random.default_rng(5)
    ground = np.linspace(60, 200, 512)[None, :, None].repeat(400, 0).repeat(3, 2)
    ground[100:300, 150:350] = (220, 90, 40)
    ground[150:200, 200:300] = (20, 20, 30)
    picture = Image.fromarray(np.clip(ground + rng.normal(0, 6, ground.shape), 0, 255).astype(np.uint8))
    return picture.filter(ImageFilter.GaussianBlur(blur))


def png_of(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def test_a_smeared_photograph_is_called_blurred_and_a_sharp_one_is_not() -> None:
    assert not is_blurred(photograph())
    assert is_blurred(photograph(blur=9))


def test_small_pictures_are_never_called_blurred() -> None:
    assert not is_blurred(Image.new("RGB", (64, 64), "teal"))


def test_few_and_many_are_worth_a_sentence() -> None:
    assert [bool(remarks_on_all(count)) for count in (0, 1, 2, 3, 12, 13)] == [False, True, True, False, False, True]


def test_what_is_small_double_or_anothers_already_is_said(
    ada: Person, sessions: Sessions, store: BlobStore, config: Settings
) -> None:
    ada.teach("rex", pictures=1)
    taught = png(seed=sum(map(ord, "rex")) * 100)
    uow = UnitOfWork(sessions, lambda *_args, **_kwargs: None)
    for name, data in (
        ("tiny.png", png(1, (40, 90))),
        ("one.png", png(2)),
        ("two.png", png(2)),
        ("old.png", taught),
        ("smeared.png", png_of(photograph(blur=9))),
        ("sharp.png", png_of(photograph())),
    ):
        keep_upload(uow, store, ada.id, check_picture(data, name, config))
    with sessions() as session:
        uploads: list[Upload] = list(waiting_uploads(session, ada.id))
        said = remarks_on(session, ada.id, uploads)
    by_name = {upload.file_name: " ".join(said[upload.id]) for upload in uploads}
    assert "Small: 40 × 90 pixels" in by_name["tiny.png"]
    assert by_name["one.png"] == ""
    assert "The same picture as one.png" in by_name["two.png"]
    assert "<rex> was taught from this picture too" in by_name["old.png"]
    assert by_name["smeared.png"] == "Blurred: what is not sharp here is learned as not sharp."
    assert by_name["sharp.png"] == ""


def test_pictures_that_wait_are_shown_without_being_read_again(
    ask: Ask,  # noqa: F811
    ada: Person,
    store: BlobStore,
) -> None:
    """Nor when another one is dropped beside them."""
    smeared = ("smeared.png", png_of(photograph(blur=9)), "image/png")
    assert "Blurred" in ask("POST", "/uploads", files={"pictures": smeared}).text
    for file in list(store.blobs.all()):
        store.blobs.remove(file.name)
    page = ask("GET", f"/histories/{ada.history_id}/teach")
    assert (page.status_code, "Blurred: what is not sharp here" in page.text) == (200, True)
    assert ask("POST", "/uploads", files={"pictures": ("dog.png", png(), "image/png")}).status_code == 201
