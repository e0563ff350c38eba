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
from app.routing import lay_out


def install(app: FastAPI) -> None:
    """Serve every page, and the files that pages ask for."""
    templating.install(app)
    features = (
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
    )
    lay_out(app, [feature.router for feature in features])
