"""A history as a value: a tree of versions, and where its user stands in it.

A version has a parent, as a commit has. Version 0 is the bare base. Learning adds a child of the version learned upon
and moves `head` there, unless the version is held back; going back moves `head` alone. No version and no move of `head`
is ever removed, so any state can be reached again; erasing a concept that was forgotten is the one exception. Nothing
here reads or writes files: see `cns.history_folder`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from cns.errors import CnsError
from cns.text import TOKEN

FORMAT = "palimpsest-history-1"


class HistoryError(CnsError):
    """A history cannot do what it is asked to do."""


class UnknownVersion(HistoryError):
    """There is no version of that number."""


class DamagedHistory(HistoryError):
    """What should be a history cannot be read as one."""


@dataclass(frozen=True)
class VersionRecord:
    """One learned state: what was learned, on top of what, and how it went. Never edited."""

    number: int  # 1, 2, 3... in the order of learning, over all branches; with gaps where some were erased
    parent: int  # the version it was learned on; 0 is the bare base
    concept: str  # "rex"
    class_noun: str  # "dog"
    delta: str  # SHA-256 of the delta's bytes, which names its file
    delta_bytes: int
    created_at: str  # ISO 8601 with time zone
    seconds: Mapping[str, float] = field(default_factory=dict)  # "captions", "selection", "learning", "diagnosis"
    report: Mapping[str, Any] = field(default_factory=dict)  # the delta's own, and "loss": that of every step
    diagnosis: Sequence[Mapping[str, Any]] = ()  # findings in plain words
    examination: Mapping[str, Any] = field(default_factory=dict)  # the measured numbers behind the diagnosis
    held_back: Sequence[Mapping[str, Any]] = ()  # the findings because of which learning it did not move head


@dataclass(frozen=True)
class HeadMove:
    """One step of `head`. why: "learned rex", "rolled back"."""

    at: str  # ISO 8601 with time zone
    from_version: int
    to_version: int
    why: str


@dataclass(frozen=True)
class History:
    """A tree of versions over one base model, and `head`, the version that is used when none is named."""

    base_source: str  # where the base was loaded from: a folder, a file, a hub id
    base_id: str  # 64 hex digits; see `cns.base_model.BaseModel.id`
    base_config: str | None = None  # for a single checkpoint file: what describes its architecture
    versions: tuple[VersionRecord, ...] = ()
    head: int = 0
    head_moves: tuple[HeadMove, ...] = ()
    highest_erased: int = 0  # number of a version that is no more

    def find(self, number: int) -> VersionRecord:
        """The version of that number; UnknownVersion for 0, which is the base and has no record, and for strangers."""
        for version in self.versions:
            if version.number == number:
                return version
        known = ", ".join(str(version.number) for version in self.versions) or "none yet"
        raise UnknownVersion(f"This history has no version {number}; learned versions: {known}.")

    def lineage(self, number: int) -> tuple[VersionRecord, ...]:
        """Every version from the base to `number`, oldest first; empty for 0, the bare base."""
        path: list[VersionRecord] = []
        while number != 0:
            version = self.find(number)
            path.append(version)
            number = version.parent
        return tuple(reversed(path))

    def children(self, number: int) -> tuple[VersionRecord, ...]:
        """The versions learned directly on `number`."""
        return tuple(version for version in self.versions if version.parent == number)

    @property
    def next_number(self) -> int:
        """Never given before, not even to a version that was erased."""
        return max([self.highest_erased, *(version.number for version in self.versions)]) + 1

    def with_version(self, version: VersionRecord) -> "History":
        """The history after learning `version`: one version more, and `head` on it unless it is held back."""
        if version.number != self.next_number:
            raise HistoryError(f"The next version of this history is {self.next_number}, not {version.number}.")
        if version.concept in {earlier.concept for earlier in self.lineage(version.parent)}:
            raise HistoryError(f"{version.concept} has already been learned in this line of versions.")
        grown = replace(self, versions=(*self.versions, version))
        if version.held_back:
            return grown
        return grown.with_head(version.number, version.created_at, f"learned {version.concept}")

    def with_line(self, versions: Sequence[VersionRecord], parent: int, at: str, why: str) -> "History":
        """The history with a line of versions on top of `parent`, and `head` on its end, all in one move."""
        grown = self
        for version in versions:
            if version.parent != parent:
                raise HistoryError(f"Version {version.number} was not made on version {parent}.")
            parent, grown = version.number, grown.with_version(version)
        return replace(grown, head=self.head, head_moves=self.head_moves).with_head(parent, at, why)

    def knowing(self, concept: str) -> tuple[VersionRecord, ...]:
        """The versions, in every branch, that know the concept: those that learned it and all made on top of them."""
        found: dict[int, VersionRecord] = {}
        for version in self.versions:  # parents come before their children
            if version.concept == concept or version.parent in found:
                found[version.number] = version
        return tuple(found.values())

    def without(self, numbers: Collection[int]) -> "History":
        """The history with those versions erased, and the moves of `head` that went to or from them.

        HistoryError when `head` is on one of them, or a version that stays was made on top of one.
        """
        left = tuple(version for version in self.versions if version.number not in numbers)
        if self.head in numbers or any(version.parent in numbers for version in left):
            raise HistoryError("A version cannot be erased while head or another version stands on it.")
        moves = tuple(
            move for move in self.head_moves if move.from_version not in numbers and move.to_version not in numbers
        )
        highest = max([self.highest_erased, *numbers])
        return replace(self, versions=left, head_moves=moves, highest_erased=highest)

    def with_head(self, number: int, at: str, why: str) -> "History":
        """The history with `head` on version `number` (0 for the bare base), and that move written down."""
        if number != 0:
            self.find(number)
        return replace(self, head=number, head_moves=(*self.head_moves, HeadMove(at, self.head, number, why)))

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "base": {"source": self.base_source, "id": self.base_id, "config": self.base_config},
            "versions": [asdict(version) for version in self.versions],
            "head": self.head,
            "head_moves": [
                {"at": move.at, "from": move.from_version, "to": move.to_version, "why": move.why}
                for move in self.head_moves
            ],
            "highest_erased": self.highest_erased,
        }


def history_from_json(read: Any) -> History:
    """The history that `History.to_json` described; DamagedHistory for anything that is none."""
    if not isinstance(read, dict) or read.get("format") != FORMAT:
        raise DamagedHistory(f"This is not a history of the format {FORMAT}.")
    try:
        history = History(
            base_source=str(read["base"]["source"]),
            base_id=str(read["base"]["id"]),
            base_config=read["base"].get("config"),
            versions=tuple(_version_from_json(version) for version in read["versions"]),
            head=int(read["head"]),
            head_moves=tuple(
                HeadMove(str(move["at"]), int(move["from"]), int(move["to"]), str(move["why"]))
                for move in read["head_moves"]
            ),
            highest_erased=int(read.get("highest_erased", 0)),
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DamagedHistory(f"The history lacks a part or holds one of the wrong kind: {error}.") from error
    _check_tree(history)
    return history


def _version_from_json(read: Mapping[str, Any]) -> VersionRecord:
    """A version; what becomes part of a file's name is checked, since the file may come from somebody else."""
    known = {part.name for part in fields(VersionRecord)}
    version = VersionRecord(**{name: value for name, value in read.items() if name in known})
    version = replace(version, diagnosis=tuple(version.diagnosis), held_back=tuple(version.held_back))
    if not isinstance(version.number, int) or not isinstance(version.parent, int):
        raise TypeError("version numbers must be whole numbers")
    if not all(isinstance(part, str) for part in (version.concept, version.class_noun, version.delta)):
        raise TypeError("concept, class noun and delta of a version are texts")
    if not all(isinstance(part, dict) for part in (version.seconds, version.report, version.examination)):
        raise TypeError("seconds, report and examination of a version are objects")
    if len(version.delta) != 64 or set(version.delta) - set("0123456789abcdef"):
        raise ValueError("a delta is named by 64 hex digits")
    if not TOKEN.fullmatch(f"<{version.concept}>"):
        raise ValueError("a concept's name has letters, digits, _ and - only")
    return version


def _check_tree(history: History) -> None:
    """Raise DamagedHistory unless parents are older than their children and `head` is on a version."""
    known = {0}
    for version in history.versions:
        if version.number <= max(known) or version.parent not in known:
            raise DamagedHistory(f"The history's version {version.number} does not fit into its tree.")
        known.add(version.number)
    if history.head not in known:
        raise DamagedHistory(f"The history's head is on version {history.head}, which it does not hold.")
