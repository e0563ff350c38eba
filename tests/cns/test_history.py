"""A history as a tree of versions, and as a folder that survives whatever happens to a command."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from cns.delta import Delta
from cns.errors import DamagedDelta, WrongBase
from cns.history import DamagedHistory, History, HistoryError, UnknownVersion, VersionRecord, history_from_json
from cns.history_folder import HistoryBusy, HistoryFolder, as_json, write_atomically
from cns.pictures import UnreadablePicture

ROOT = Path(__file__).resolve().parents[2]
BASE = "b" * 64
LAYER = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k"
PICTURE = Image.new("RGB", (8, 6), (200, 30, 30))


def record(number: int, parent: int, concept: str) -> VersionRecord:
    return VersionRecord(number, parent, concept, "dog", f"{number:064x}", 10, "2026-01-01T00:00:00+00:00")


def delta(concept: str, parent: Delta | None = None, base_id: str = BASE, value: float = 0.5) -> Delta:
    return Delta(
        concept=concept,
        class_noun="dog",
        base_id=base_id,
        parent=parent.digest if parent else None,
        positions={LAYER: torch.tensor([1, 5])},
        values={LAYER: torch.tensor([value, -1.0], dtype=torch.float16)},
        shapes={LAYER: (2, 4)},
        token_vectors=(torch.arange(4.0),),
        settings={"steps": 3},
        report={"final_loss": 0.25},
    )


@pytest.fixture
def folder(tmp_path: Path) -> HistoryFolder:
    return HistoryFolder.create(tmp_path / "history", "storybook/model", BASE)


def publish(folder: HistoryFolder, learned: Delta) -> VersionRecord:
    with folder.writing():
        return folder.publish(learned, [PICTURE], losses=[0.5, 0.25], seconds={"learning": 1.5})


# --- the tree ---------------------------------------------------------------------------------------------------------


def test_learning_adds_a_child_of_head_and_moves_head_there() -> None:
    history = History("model", BASE).with_version(record(1, 0, "rex")).with_version(record(2, 1, "tom"))
    assert history.head == 2
    assert [version.concept for version in history.lineage(2)] == ["rex", "tom"]
    assert [(move.from_version, move.to_version, move.why) for move in history.head_moves] == [
        (0, 1, "learned rex"),
        (1, 2, "learned tom"),
    ]


def test_going_back_and_learning_again_makes_a_branch_and_loses_nothing() -> None:
    history = History("model", BASE).with_version(record(1, 0, "rex")).with_version(record(2, 1, "tom"))
    history = history.with_head(1, "2026-01-02T00:00:00+00:00", "rolled back").with_version(record(3, 1, "tom"))
    assert [version.number for version in history.lineage(3)] == [1, 3]
    assert [version.number for version in history.lineage(2)] == [1, 2]
    assert [version.number for version in history.children(1)] == [2, 3]


def test_a_version_that_is_held_back_stands_beside_head_and_the_next_one_is_learned_on_head() -> None:
    why = ({"signature": "bleeding", "sentence": "<rex> is turning into <tom>."},)
    history = History("model", BASE).with_version(record(1, 0, "rex"))
    history = history.with_version(replace(record(2, 1, "tom"), held_back=why))
    assert (history.head, history.find(2).held_back) == (1, why)
    history = history.with_version(record(3, 1, "tom"))
    assert [version.number for version in history.lineage(history.head)] == [1, 3]
    assert history_from_json(json.loads(json.dumps(history.to_json()))) == history


def test_a_concept_is_learned_once_in_a_line_of_versions() -> None:
    history = History("model", BASE).with_version(record(1, 0, "rex"))
    with pytest.raises(HistoryError, match="rex has already been learned"):
        history.with_version(record(2, 1, "rex"))
    history.with_head(0, "2026-01-02T00:00:00+00:00", "rolled back").with_version(record(2, 0, "rex"))


def test_head_cannot_go_where_no_version_is() -> None:
    with pytest.raises(UnknownVersion, match="no version 7; learned versions: none yet"):
        History("model", BASE).with_head(7, "2026-01-02T00:00:00+00:00", "rolled back")


def test_a_history_is_the_same_after_it_was_written_and_read() -> None:
    history = History("model", BASE).with_version(record(1, 0, "rex")).with_head(0, "2026-01-02", "rolled back")
    assert history_from_json(json.loads(json.dumps(history.to_json()))) == history


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("format", "something else"),
        ("base", None),
        ("head", 9),
        ("delta", "../../secret"),
        ("concept", "../rex"),
        ("parent", 3),
        ("number", "1"),
        ("head", float("inf")),
        ("head_moves", [[]]),
        ("base", []),
        ("versions", [[]]),
        ("versions", [None]),
        ("concept", 5),
        ("class_noun", ["dog"]),
        ("delta", ["0"] * 64),
        ("report", ["loss"]),
        ("seconds", None),
        ("examination", 3),
    ],
)
def test_what_is_no_history_is_refused(part: str, value: object) -> None:
    written = json.loads(json.dumps(History("model", BASE).with_version(record(1, 0, "rex")).to_json()))
    (written if part in written else written["versions"][0])[part] = value
    with pytest.raises(DamagedHistory):
        history_from_json(written)


# --- the folder -------------------------------------------------------------------------------------------------------


def test_a_published_delta_is_read_back_as_it_was(folder: HistoryFolder) -> None:
    rex = delta("rex")
    publish(folder, rex)
    tom = delta("tom", parent=rex, value=0.25)
    publish(folder, tom)
    again = HistoryFolder.open(folder.folder, BASE)
    assert [read.digest for read in again.load_deltas()] == [rex.digest, tom.digest]
    assert [read.digest for read in again.load_deltas(1)] == [rex.digest]
    assert again.load_deltas(0) == ()
    assert again.history.find(1).seconds == {"learning": 1.5}
    assert again.history.find(1).report == {"final_loss": 0.25, "loss": [0.5, 0.25]}


def test_small_copies_of_the_pictures_are_kept(folder: HistoryFolder) -> None:
    with folder.writing():
        version = folder.publish(delta("rex"), [PICTURE, Image.new("RGBA", (2000, 1000))])
    kept = folder.load_pictures(version)
    assert [picture.size for picture in kept] == [(8, 6), (512, 256)]
    assert kept[0].tobytes() == PICTURE.tobytes()


def test_of_the_kept_pictures_only_our_own_are_read(folder: HistoryFolder) -> None:
    version = publish(folder, delta("rex"))
    kept = folder.folder / "pictures" / "rex-1"
    for name in ("._0.png", "copy.png", ".png", "1 (2).png"):
        (kept / name).write_bytes(b"of another program")
    assert [picture.size for picture in folder.load_pictures(version)] == [PICTURE.size]
    PICTURE.save(kept / "1.png", "GIF")
    with pytest.raises(UnreadablePicture, match=r"1\.png"):
        folder.load_pictures(version)


def test_a_kept_picture_that_would_fill_the_memory_is_not_unfolded(
    folder: HistoryFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = publish(folder, delta("rex"))
    monkeypatch.setattr("cns.pictures.MOST_PIXELS", 40)
    with pytest.raises(UnreadablePicture, match="8 x 6 pixels"):
        folder.load_pictures(version)


def test_rolling_back_moves_head_and_deletes_nothing(folder: HistoryFolder) -> None:
    rex = delta("rex")
    publish(folder, rex)
    publish(folder, delta("tom", parent=rex))
    files = sorted(path for path in folder.folder.rglob("*.safetensors"))
    with folder.writing():
        folder.move_head(1)
    again = HistoryFolder.open(folder.folder)
    assert again.history.head == 1
    assert len(again.history.versions) == 2
    assert sorted(path for path in folder.folder.rglob("*.safetensors")) == files
    branch = publish(again, delta("mia", parent=rex))
    assert (branch.number, branch.parent) == (3, 1)


def test_a_delta_learned_on_another_version_is_not_published(folder: HistoryFolder) -> None:
    publish(folder, delta("rex"))
    with folder.writing(), pytest.raises(HistoryError, match="not learned on version 1"):
        folder.publish(delta("tom"), [])


def test_a_history_belongs_to_its_base(folder: HistoryFolder) -> None:
    with pytest.raises(WrongBase, match="made on another base model"):
        HistoryFolder.open(folder.folder, "c" * 64)
    with folder.writing(), pytest.raises(WrongBase):
        folder.publish(delta("rex", base_id="c" * 64), [])


def test_a_delta_file_with_other_bytes_gives_a_sentence(folder: HistoryFolder) -> None:
    version = publish(folder, delta("rex"))
    file = folder.folder / "deltas" / f"{version.delta}.safetensors"
    other = delta("rex", value=0.75)
    file.write_bytes(other.to_bytes())  # a sound delta, but not the one that was learned
    with pytest.raises(DamagedDelta, match="version 1 is damaged"):
        folder.load_deltas()
    file.unlink()
    with pytest.raises(DamagedDelta, match="version 1 is missing"):
        folder.load_deltas()


@pytest.mark.parametrize(("part", "said"), [("concept", "max"), ("class_noun", "cat")])
def test_a_delta_of_something_else_than_its_version_says_is_not_read(
    folder: HistoryFolder, part: str, said: str
) -> None:
    publish(folder, delta("rex"))
    written = json.loads((folder.folder / "history.json").read_text())
    written["versions"][0][part] = said
    (folder.folder / "history.json").write_text(json.dumps(written))
    with pytest.raises(DamagedDelta, match=r"Version 1 is said to be .* but its delta is of <rex>, a dog"):
        HistoryFolder.open(folder.folder).load_deltas()


def test_a_folder_without_a_history_gives_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="There is no history in"):
        HistoryFolder.open(tmp_path / "nowhere")
    for written in ("{", "[" * 100_000):
        (tmp_path / "history.json").write_text(written)
        with pytest.raises(DamagedHistory, match="cannot be read as JSON"):
            HistoryFolder.open(tmp_path)


def test_a_new_history_does_not_take_over_a_folder_in_use(folder: HistoryFolder, tmp_path: Path) -> None:
    for taken in (folder.folder, tmp_path):
        with pytest.raises(HistoryError, match="not empty"):
            HistoryFolder.create(taken, "model", BASE)


def test_two_commands_do_not_write_at_once(folder: HistoryFolder) -> None:
    other = HistoryFolder.open(folder.folder)
    with folder.writing():
        with pytest.raises(HistoryBusy, match="Another command is writing"), other.writing(wait_s=0):
            pass
        HistoryFolder.open(folder.folder)  # reading waits for nobody
    with other.writing(wait_s=0):
        pass


def run_until_killed(source: str, folder: HistoryFolder) -> None:
    """A program of its own over the folder, which kills itself on the way."""
    ended = subprocess.run([sys.executable, "-c", source, str(folder.folder)], check=False, cwd=ROOT)
    assert ended.returncode == -9


def test_a_killed_command_leaves_no_lock_and_the_state_before_it(folder: HistoryFolder) -> None:
    publish(folder, delta("rex"))
    source = (
        "import os, signal, sys\n"
        "from cns.history_folder import HistoryFolder\n"
        "folder = HistoryFolder.open(sys.argv[1])\n"
        "with folder.writing():\n"
        "    (folder.folder / '.history.json.0.part').write_text('half')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    run_until_killed(source, folder)
    with folder.writing(wait_s=0) as history:
        assert history.head == 1


def test_pictures_of_a_killed_learning_are_not_those_of_the_next(folder: HistoryFolder) -> None:
    source = (
        "import os, signal, sys\n"
        "from cns import history_folder\n"
        "from tests.cns.test_history import PICTURE, delta\n"
        "folder = history_folder.HistoryFolder.open(sys.argv[1])\n"
        "folder._store = lambda history: os.kill(os.getpid(), signal.SIGKILL)\n"
        "with folder.writing():\n"
        "    folder.publish(delta('rex'), [PICTURE.rotate(90, expand=True)] * 5)\n"
    )
    run_until_killed(source, folder)
    assert len(list((folder.folder / "pictures" / "rex-1").iterdir())) == 5
    with folder.writing():
        version = folder.publish(delta("rex"), [PICTURE] * 3)
    assert [picture.size for picture in folder.load_pictures(version)] == [PICTURE.size] * 3


def test_a_history_is_begun_where_a_command_was_killed_as_it_began_one(tmp_path: Path) -> None:
    half = tmp_path / ".history.json.7.part"
    half.write_text("half")
    (tmp_path / "lock").touch()
    HistoryFolder.create(tmp_path, "model", BASE)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["history.json", "lock"]


def test_half_a_history_belongs_to_no_version(folder: HistoryFolder) -> None:
    half = folder.folder / ".history.json.7.part"
    half.write_text("half")
    assert folder.unnamed_files() == (half,)


def test_what_a_writer_did_is_seen_by_the_next_one(folder: HistoryFolder) -> None:
    other = HistoryFolder.open(folder.folder)
    rex = delta("rex")
    publish(folder, rex)
    assert publish(other, delta("tom", parent=rex)).number == 2


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "history.json"
    write_atomically(file, b"before")

    def fail(_: int) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("cns.history_folder.os.fsync", fail)
    with pytest.raises(OSError, match="no space left"):
        write_atomically(file, b"after")
    assert file.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["history.json"]


def test_numbers_that_are_none_become_null() -> None:
    assert as_json({"loss": (1.0, float("nan")), "inf": float("inf")}) == {"loss": [1.0, None], "inf": None}
