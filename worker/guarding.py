"""Whether a learned version becomes head, or stands beside it because it did damage."""

from typing import Any

from sqlalchemy.orm import Session

from app.histories.head import point_head
from app.histories.models import History, Version
from cns.damage import find_damage
from cns.diagnosis import Finding
from cns.history_folder import as_json
from worker.lessons import Task


def held_back_by(session: Session, history: History, task: Task, diagnosis: list[Any]) -> list[Any]:
    """The findings because of which head is to stay; empty when it may move, or when its user moved it meanwhile.

    What was not examined is not held back. To be called with the history locked, so that the setting and head hold
    until the version is published.
    """
    if not history.guards_head or history.head_id != task.parent_id:
        return []
    parent = session.get_one(Version, task.parent_id).diagnosis if task.parent_id else []
    damage = find_damage(map(Finding.from_json, diagnosis), [Finding.from_json(one) for one in parent])
    return [as_json(finding.to_json()) for finding in damage]


def move_head_on(session: Session, history: History, task: Task, version: Version) -> bool:
    """Make the version head, unless it is held back or its user moved head meanwhile; returns whether it is."""
    if version.held_back or history.head_id != task.parent_id:
        return False
    point_head(session, history, version.id, task.owner_id, f"learned {task.name}")
    return True
