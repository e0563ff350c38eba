"""Every page, and what pages need: templates, static files, errors that people can read."""

from fastapi import FastAPI

from app import templating
from app.accounts import pages as accounts
from app.accounts import people_pages as people
from app.concepts import again_pages as again
from app.concepts import pages as concepts
from app.forgettings import pages as forgettings
from app.generations import gallery_pages as gallery
from app.generations import pages as generations
from app.histories import guard_pages as guard
from app.histories import pages as histories
from app.histories import timeline_pages as timeline
from app.interface import pages as interface
from app.jobs import pages as jobs


def install(app: FastAPI) -> None:
    """Pages are no part of the REST interface, so they are not in its description."""
    templating.install(app)
    for feature in (
        accounts,
        people,
        generations,
        gallery,
        concepts,
        again,
        histories,
        guard,
        timeline,
        forgettings,
        jobs,
        interface,
    ):
        app.include_router(feature.router, include_in_schema=False)
