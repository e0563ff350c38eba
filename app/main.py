"""The web service: `uvicorn app.main:create_app --factory`."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import redis
from fastapi import FastAPI

from app import health, pages, problems
from app.accounts import api as accounts
from app.bodies import BodyLimit
from app.celery_sender import make_sender
from app.concepts import again_api as again
from app.concepts import api as concepts
from app.config import Settings, settings
from app.db import Send, make_engine, make_reading_engine, make_sessions
from app.decoding import Decoding
from app.forgettings import api as forgettings
from app.generations import api as generations
from app.generations import images_api as images
from app.histories import api as histories
from app.interface import schema
from app.jobs import api as jobs
from app.limiting import make_limiter
from app.logs import set_up_logs
from app.middleware import Surroundings
from app.old_thumbnails import remove_old_thumbnails
from app.openai import api as openai
from app.routing import lay_out
from app.shared_answer import SharedAnswer
from app.state import State
from app.stores import open_store

READY_FOR_S = 1.0  # to try it all takes a file in the storage, which a bucket's owner pays for
DESCRIPTION = """Teach one text-to-image model concept after concept, make pictures with them, go back to any version.

Send an API key (made on the account page) as `Authorization: Bearer pk_...`. Whatever takes longer than a moment is a
job: the answer is 202 with the job, whose events can be followed. Errors are problem details (RFC 9457) whose `detail`
is a sentence. Lists come by pages: ask again with `cursor` set to `next`."""


def make_state(config: Settings, send: Send | None = None) -> State:
    """Connections are opened when they are first used, so that the service starts while the others still do."""
    reading = make_reading_engine(config.database_url)
    return State(
        settings=config,
        sessions=make_sessions(make_engine(config.database_url)),
        readers=make_sessions(reading),
        reading=reading,
        store=open_store(config),
        redis=redis.Redis.from_url(config.redis_url, socket_timeout=2, socket_connect_timeout=1),
        send=send or make_sender(config.redis_url),
        limiter=make_limiter(config.redis_url),
        decoding=Decoding(),
        sweeping=asyncio.Lock(),
        readiness=SharedAnswer(READY_FOR_S),
        stopping=asyncio.Event(),
    )


def create_app(config: Settings | None = None, send: Send | None = None) -> FastAPI:
    """The application. config: None for the environment's. send: how to ring the worker; None for Celery."""
    config = config or settings()
    set_up_logs(config.log_format, config.log_level)
    state = make_state(config, send)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        threading.Thread(target=remove_old_thumbnails, args=(config,), daemon=True).start()  # there may be many
        yield
        state.redis.close()
        state.sessions.kw["bind"].dispose()
        state.reading.dispose()

    app = FastAPI(
        title="Palimpsest",
        version=version("palimpsest"),
        description=DESCRIPTION,
        docs_url=None,  # the usual page loads its script from elsewhere; ours is made from the same schema
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=lifespan,
    )
    app.state.palimpsest = state
    app.add_middleware(BodyLimit, settings=config)  # inside the next one, which was added last
    app.add_middleware(Surroundings, behind_tls=config.behind_tls)
    problems.install(app)
    rest = (accounts, histories, concepts, again, forgettings, generations, images, jobs, openai)
    lay_out(app, [*(feature.router for feature in rest), health.router])
    pages.install(app)
    schema.install(app)
    return app
