"""A history on disk, for use from the command line and from notebooks.

    FOLDER/history.json              the tree of versions, head, and every move of head
    FOLDER/deltas/<sha256>.safetensors
    FOLDER/pictures/<concept>-<version>/0.png    small copies of what was taught, for scoring
    FOLDER/lock                      held while a command writes

A delta and its pictures are written before the history that names them, and each file appears whole or not at all: a
command that is killed leaves the state before it. Reading takes no lock.
"""

import fcntl
import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from cns.delta import Delta
from cns.errors import DamagedDelta, WrongBase
from cns.history import DamagedHistory, History, HistoryError, VersionRecord, history_from_json
from cns.pictures import read_picture, small_copy


class HistoryBusy(HistoryError):
    """Another command is writing to this history."""


def write_atomically(path: Path, data: bytes) -> None:
    """Put `data` at `path` so that a reader, or a power cut, finds the old file or the new one and nothing between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut, as fsync does for a file's bytes."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def as_json(value: Any) -> Any:
    """Nested mappings, sequences and numbers as JSON has them: tuples as lists, and null for NaN."""
    if isinstance(value, Mapping):
        return {str(key): as_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def now() -> str:
    """The present moment in ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class NewVersion:
    """What is to be published: a delta, the pictures it was taught with, and how it went, as `VersionRecord` has it."""

    delta: Delta
    pictures: tuple[Image.Image, ...] = ()
    losses: Sequence[float] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    diagnosis: Sequence[Mapping[str, Any]] = ()
    examination: Mapping[str, Any] = field(default_factory=dict)
    held_back: Sequence[Mapping[str, Any]] = ()


class HistoryFolder:
    """One history in one folder. `history` is what was last read; `writing` reads again under the lock."""

    def __init__(self, folder: Path, history: History) -> None:
        self.folder, self.history = folder, history

    @classmethod
    def create(
        cls, folder: str | Path, base_source: str, base_id: str, base_config: str | None = None
    ) -> "HistoryFolder":
        """Begin a history on a base. HistoryError when the folder already holds one, or something else."""
        folder = Path(folder)
        made = cls(folder, History(base_source, base_id, base_config))
        if folder.exists() and (not folder.is_dir() or not {*folder.iterdir()} <= {folder / "lock", *made._halves()}):
            raise HistoryError(f"{folder} exists and is not empty: a new history needs a folder of its own.")
        folder.mkdir(parents=True, exist_ok=True)
        with made._locked(0):
            if made._file.exists():
                raise HistoryError(f"Another command has just begun a history in {folder}.")
            for half in made._halves():
                half.unlink()
            made._store(made.history)
        return made

    @classmethod
    def open(cls, folder: str | Path, base_id: str | None = None) -> "HistoryFolder":
        """Read a history. base_id: that of the base in use; WrongBase when the history was made on another."""
        opened = cls(Path(folder), History("", ""))
        opened.read_again()
        if base_id is not None:
            opened.check_base(base_id)
        return opened

    @property
    def _file(self) -> Path:
        return self.folder / "history.json"

    def _halves(self) -> tuple[Path, ...]:
        """What killed commands have written of the history before it was in its place."""
        return tuple(sorted(self.folder.glob(f".{self._file.name}.*.part")))

    def read_again(self) -> History:
        try:
            self.history = history_from_json(json.loads(self._file.read_bytes()))
        except (FileNotFoundError, NotADirectoryError) as error:
            raise HistoryError(f"There is no history in {self.folder}.") from error
        except (ValueError, RecursionError) as error:
            raise DamagedHistory(f"{self._file} is damaged: it cannot be read as JSON.") from error
        return self.history

    def check_base(self, base_id: str) -> None:
        """Raise WrongBase unless this history was made on the base of that id."""
        if base_id != self.history.base_id:
            raise WrongBase(
                f"The history in {self.folder} was made on another base model ({self.history.base_source}, id "
                f"{self.history.base_id[:12]}) than the one in use (id {base_id[:12]})."
            )

    # --- reading ------------------------------------------------------------------------------------------------

    def load_delta(self, version: VersionRecord) -> Delta:
        """The delta of a version.

        DamagedDelta when its file is gone, holds other bytes than were learned, or another concept than the version.
        """
        path = self._delta_path(version.delta)
        try:
            data = path.read_bytes()
        except FileNotFoundError as error:
            raise DamagedDelta(f"The delta of version {version.number} is missing: {path} is gone.") from error
        if hashlib.sha256(data).hexdigest() != version.delta:
            raise DamagedDelta(
                f"The delta of version {version.number} is damaged: {path} no longer has the bytes that were learned."
            )
        delta = Delta.from_bytes(data, base_id=self.history.base_id)
        if (delta.concept, delta.class_noun) != (version.concept, version.class_noun):
            raise DamagedDelta(
                f"Version {version.number} is said to be <{version.concept}>, a {version.class_noun}, but its delta is "
                f"of <{delta.concept}>, a {delta.class_noun}."
            )
        return delta

    def load_deltas(self, number: int | None = None) -> tuple[Delta, ...]:
        """The deltas that make up a version, oldest first. number: None for head, 0 for the bare base."""
        wanted = self.history.head if number is None else number
        return tuple(self.load_delta(version) for version in self.history.lineage(wanted))

    def load_pictures(self, version: VersionRecord) -> tuple[Image.Image, ...]:
        """The small RGB copies of what was taught, in the order given. UnreadablePicture for one that is damaged."""
        copies = [path for path in self._pictures_path(version).glob("*.png") if path.stem.isdecimal()]
        return tuple(read_picture(path, ("PNG",)) for path in sorted(copies, key=lambda path: int(path.stem)))

    # --- writing ------------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self, wait_s: float = 2.0) -> Iterator[History]:
        """Hold the folder while the block runs, having read it again. HistoryBusy when another command keeps it.

        Learning holds it from start to end: what is learned depends on the head that was read.
        """
        if not self._file.exists():
            raise HistoryError(f"There is no history in {self.folder}.")
        with self._locked(wait_s):
            yield self.read_again()

    @contextmanager
    def _locked(self, wait_s: float) -> Iterator[None]:
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            _take_lock(handle, wait_s, lambda: HistoryBusy(f"Another command is writing to the history {self.folder}."))
            yield
        finally:
            os.close(handle)  # which gives the lock back, as the end of the process does

    def publish(
        self,
        delta: Delta,
        pictures: Sequence[Image.Image],
        *,
        losses: Sequence[float] = (),
        seconds: Mapping[str, float] | None = None,
        diagnosis: Sequence[Mapping[str, Any]] = (),
        examination: Mapping[str, Any] | None = None,
        held_back: Sequence[Mapping[str, Any]] = (),
    ) -> VersionRecord:
        """Add what was learned on head as a new version and move head there. To be called within `writing`.

        held_back: findings because of which head stays where it is; without any it moves.
        Raises WrongBase for a delta of another base and HistoryError for one that was learned on another version.
        """
        self.check_base(delta.base_id)
        parent = self.history.head
        expected = self.history.find(parent).delta if parent else None
        if delta.parent != expected:
            raise HistoryError(f"{delta.concept} was not learned on version {parent}, where this history's head is.")
        new = NewVersion(delta, tuple(pictures), losses, seconds or {}, diagnosis, examination or {}, held_back)
        version = describe_version(self.history.next_number, parent, new)
        grown = self.history.with_version(version)
        self._write_files(version, new)
        self._store(grown)
        return version

    def publish_line(self, parent: int, line: Sequence[NewVersion], why: str) -> tuple[VersionRecord, ...]:
        """Add several versions, one on top of the other and the first on `parent`, and move head to the last of them.

        All of them appear at once, or none does. An empty line only moves head to `parent`. To be called within
        `writing`. Raises WrongBase and HistoryError as `publish` does.
        """
        expected = self.history.find(parent).delta if parent else None
        versions: list[VersionRecord] = []
        for place, new in enumerate(line):
            self.check_base(new.delta.base_id)
            if new.delta.parent != expected:
                raise HistoryError(f"{new.delta.concept} was not made on the version below it.")
            number = self.history.next_number + place
            versions.append(describe_version(number, versions[-1].number if versions else parent, new))
            expected = new.delta.digest
        grown = self.history.with_line(versions, parent, now(), why)
        for version, new in zip(versions, line):
            self._write_files(version, new)
        self._store(grown)
        return tuple(versions)

    def _write_files(self, version: VersionRecord, new: NewVersion) -> None:
        write_atomically(self._delta_path(new.delta.digest), new.delta.to_bytes())
        # A command that was killed before it had published this number may have left pictures of its own.
        if (pictures := self._pictures_path(version)).exists():
            shutil.rmtree(pictures)
        for place, picture in enumerate(new.pictures):
            write_atomically(self._pictures_path(version) / f"{place}.png", _small_png(picture))

    def drop_versions(self, numbers: Collection[int]) -> None:
        """Take versions out of the history; their files are then among `unnamed_files`. To be called within `writing`.

        HistoryError as `History.without` raises it.
        """
        self._store(self.history.without(numbers))

    def named_files(self) -> tuple[Path, ...]:
        """The deltas and pictures of every version."""
        deltas = dict.fromkeys(self._delta_path(version.delta) for version in self.history.versions)
        pictures = [path for version in self.history.versions for path in self._pictures_path(version).glob("*")]
        return (*deltas, *sorted(pictures))

    def unnamed_files(self) -> tuple[Path, ...]:
        """What belongs to no version: of erased ones, or of killed commands. To be called within `writing`."""
        named = set(self.named_files())
        found = [*(self.folder / "deltas").rglob("*"), *(self.folder / "pictures").rglob("*"), *self._halves()]
        return tuple(sorted(path for path in found if path.is_file() and path not in named))

    def left_behind(self) -> frozenset[str]:
        """The concepts whose pictures are among `unnamed_files`."""
        pictures = self.folder / "pictures"
        folders = {path.parent for path in self.unnamed_files() if path.parent.parent == pictures}
        return frozenset(folder.name.rpartition("-")[0] for folder in folders)

    def move_head(self, number: int, why: str = "rolled back") -> History:
        """Move head to a version (0 for the bare base); every version stays. To be called within `writing`."""
        self._store(self.history.with_head(number, now(), why))
        return self.history

    def _store(self, history: History) -> None:
        written = json.dumps(as_json(history.to_json()), indent=1, allow_nan=False)
        write_atomically(self._file, f"{written}\n".encode())
        self.history = history

    def _delta_path(self, digest: str) -> Path:
        return self.folder / "deltas" / f"{digest}.safetensors"

    def _pictures_path(self, version: VersionRecord) -> Path:
        return self.folder / "pictures" / f"{version.concept}-{version.number}"


def describe_version(number: int, parent: int, new: NewVersion) -> VersionRecord:
    """The record of what is published now."""
    delta = new.delta
    return VersionRecord(
        number=number,
        parent=parent,
        concept=delta.concept,
        class_noun=delta.class_noun,
        delta=delta.digest,
        delta_bytes=len(delta.to_bytes()),
        created_at=now(),
        seconds=dict(new.seconds),
        report={**delta.report, "loss": [float(loss) for loss in new.losses]},
        diagnosis=tuple(new.diagnosis),
        examination=dict(new.examination),
        held_back=tuple(new.held_back),
    )


def _take_lock(handle: int, wait_s: float, refusal: Callable[[], HistoryBusy]) -> None:
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise refusal() from None
            time.sleep(0.05)


def _small_png(picture: Image.Image) -> bytes:
    """The small copy of a picture as PNG, without metadata."""
    small = small_copy(picture)
    buffer = BytesIO()
    Image.frombytes("RGB", small.size, small.tobytes()).save(buffer, "PNG")
    return buffer.getvalue()
