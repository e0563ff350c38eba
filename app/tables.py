"""Every table, imported in one place, so that migrations and tests see all of them."""

from app.accounts.models import ApiKey, LoginSession, SetupLink, User
from app.blobs import Blob
from app.concepts.models import Concept, ConceptPicture, Upload, UploadCaption
from app.db import Base
from app.forgettings.models import Forgetting
from app.generations.models import Generation, Image
from app.histories.models import BaseModelRow, HeadMove, History, Version
from app.idempotency import IdempotencyKey
from app.installation import Installation
from app.jobs.models import Job, JobEvent, JobSample, WorkerRow

__all__ = [
    "ApiKey",
    "Base",
    "BaseModelRow",
    "Blob",
    "Concept",
    "ConceptPicture",
    "Forgetting",
    "Generation",
    "HeadMove",
    "History",
    "IdempotencyKey",
    "Image",
    "Installation",
    "Job",
    "JobEvent",
    "JobSample",
    "LoginSession",
    "SetupLink",
    "Upload",
    "UploadCaption",
    "User",
    "Version",
    "WorkerRow",
]
