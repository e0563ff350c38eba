"""Page: what a program can ask for. Made from the same description that programs read, by our own hand and files."""

import re

from fastapi import Request
from fastapi.responses import Response
from markupsafe import Markup, escape

from app.deps import MaybeCaller
from app.interface.reading import read
from app.routing import page_router
from app.templating import address_of_site, render

router = page_router()


@router.get("/api/docs")
def show_interface(request: Request, caller: MaybeCaller) -> Response:
    """For everybody: it tells what can be asked, and nothing that anybody has."""
    schema = request.app.openapi()
    return render(
        request,
        "interface/page.html",
        caller,
        place="interface",
        about=schema["info"],
        with_code=with_code,
        tags=read(schema, address_of_site(request)),
    )


def with_code(text: str) -> Markup:
    """What stands between backticks, set as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704  # escaped just before
