"""A history in a folder goes on without a concept; erased, nothing of it is left."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from cns import history_folder
from cns.base_model import BaseModel
from cns.compose import compose
from cns.diagnosis import Thresholds
from cns.erasing import ErasureFailed, erase_files
from cns.examination import ExaminationSettings
from cns.forgetting import plan_forgetting
from cns.history import HistoryError
from cns.history_folder import HistoryFolder
from cns.judge import load_judge
from cns.settings import LearningSettings, SelectionSettings
from cns.teaching import Classroom, Lesson, teach
from cns.unlearning import NothingToForget, forget
from cns.unteaching import erase, erase_unnamed, forget_exactly, forget_fast
from tests.tiny_clip import random_pictures

QUICK = LearningSettings(steps=3, batch=2, selection=SelectionSettings(general_prompts=4))
NAMES = ("rex", "momo", "tom")


def lesson_of(name: str) -> Lesson:
    return Lesson(name, "dog", tuple(random_pictures(3, seed=sum(map(ord, name)))), (f"a photo of a <{name}> dog",))


def learn(folder: Path, room: Classroom, *names: str) -> HistoryFolder:
    HistoryFolder.create(folder, "tiny", room.base.id)
    opened = HistoryFolder.open(folder)
    for name in names:
        teach(opened, lesson_of(name), room)
    return opened


@pytest.fixture(scope="module")
def room(sd1: BaseModel) -> Classroom:
    return Classroom(sd1, settings=QUICK)


@pytest.fixture(scope="module")
def learned(room: Classroom, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unteaching") / "history"
    learn(folder, room, *NAMES)
    return folder


@pytest.fixture
def folder(learned: Path, tmp_path: Path) -> HistoryFolder:
    """A copy of a history that has learned rex, momo and tom in this order."""
    return HistoryFolder.open(shutil.copytree(learned, tmp_path / "history"))


def tree(folder: HistoryFolder) -> list[tuple[int, int, str]]:
    return [(version.number, version.parent, version.concept) for version in folder.read_again().versions]


def bytes_in(folder: HistoryFolder) -> dict[str, str]:
    """Path -> SHA-256 of every file of the history."""
    paths = [path for path in folder.folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder.folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_forgetting_makes_a_new_line_and_leaves_the_old_one_as_it_was(room: Classroom, folder: HistoryFolder) -> None:
    before = bytes_in(folder)
    (made,) = forget_fast(folder, room.base, "momo")
    assert tree(folder) == [(1, 0, "rex"), (2, 1, "momo"), (3, 2, "tom"), (4, 1, "tom")]
    assert (folder.history.head, folder.history.head_moves[-1].why) == (4, "forgot momo")
    assert made.delta == forget(room.base, folder.load_deltas(3), "momo").after[0].digest
    after = bytes_in(folder)
    assert all(after[name] == digest for name, digest in before.items() if name != "history.json")
    assert list(compose(room.base, folder.load_deltas()).tokens) == ["<rex>", "<tom>"]


def test_the_pictures_of_later_concepts_come_along(room: Classroom, folder: HistoryFolder) -> None:
    (made,) = forget_fast(folder, room.base, "momo")
    old, new = folder.load_pictures(folder.history.find(3)), folder.load_pictures(made)
    assert len(new) == 3
    assert [picture.tobytes() for picture in new] == [picture.tobytes() for picture in old]


def test_exact_forgetting_gives_the_bytes_of_a_history_that_never_knew_it(
    room: Classroom, folder: HistoryFolder, tmp_path: Path
) -> None:
    never = learn(tmp_path / "never", room, "rex", "tom")
    (made,) = forget_exactly(folder, room, "momo")
    assert made.delta == never.history.find(2).delta
    assert (folder.history.head, made.parent) == (4, 1)


def test_all_later_concepts_are_learned_again_in_their_order(room: Classroom, folder: HistoryFolder) -> None:
    told: list[str] = []
    forget_exactly(folder, room, "rex", lambda stage, done, total: told.append(stage))
    assert tree(folder)[3:] == [(4, 0, "momo"), (5, 4, "tom")]
    assert list(dict.fromkeys(told)) == ["learning momo", "learning tom"]


def test_forgetting_what_was_learned_last_only_moves_head(room: Classroom, folder: HistoryFolder) -> None:
    assert forget_fast(folder, room.base, "tom") == ()
    assert (folder.history.head, len(folder.history.versions)) == (2, 3)


def test_a_forgetting_that_is_killed_leaves_the_history_as_it_was(
    room: Classroom, folder: HistoryFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(path: Path, data: bytes) -> None:
        if path.name == "history.json":
            raise OSError("No space left on device")
        original(path, data)

    original = history_folder.write_atomically
    monkeypatch.setattr(history_folder, "write_atomically", fails)
    with pytest.raises(OSError, match="No space"):
        forget_fast(folder, room.base, "rex")
    assert (len(tree(folder)), folder.history.head) == (3, 3)


# --- what was measured ------------------------------------------------------------------------------------------------

SMALL = ExaminationSettings(("a photo of a {}",), generic_pictures=1, steps=2)
NOTHING_IS_GOOD_ENOUGH = Thresholds(similarity_warn=2.0, similarity_bad=2.0)  # a cosine is 1 at most


@pytest.fixture
def judged(room: Classroom, judged_folder: Path) -> Classroom:
    return replace(room, judge=load_judge(judged_folder / "clip"), examination=SMALL, made={})


def test_concepts_of_the_new_line_are_looked_after_as_those_of_the_old_one(judged: Classroom, tmp_path: Path) -> None:
    folder = learn(tmp_path / "history", judged, "rex", "momo")
    before = folder.history.find(2).examination["concepts"]
    (made,) = forget_fast(folder, judged.base, "rex")
    assert made.examination["concepts"] == {"momo": before["momo"]}
    assert {finding["signature"] for finding in made.diagnosis} == {"underfitting", "zero-shot damage"}
    after = teach(folder, lesson_of("tom"), judged)
    assert ("forgetting", "momo") in {(finding["signature"], finding["concept"]) for finding in after.diagnosis}


def test_damage_that_was_accepted_holds_nothing_back_on_the_new_line(judged: Classroom, tmp_path: Path) -> None:
    strict = replace(judged, thresholds=NOTHING_IS_GOOD_ENOUGH, guards_head=False)
    folder = learn(tmp_path / "history", strict, "rex", "momo")
    forget_fast(folder, judged.base, "rex")
    assert teach(folder, lesson_of("tom"), replace(strict, guards_head=True)).held_back == ()


def test_what_was_measured_of_an_erased_concept_is_gone_with_it(judged: Classroom, tmp_path: Path) -> None:
    folder = learn(tmp_path / "history", judged, *NAMES)
    forget_fast(folder, judged.base, "rex")
    erase(folder, "rex")
    assert "rex" not in (folder.folder / "history.json").read_text().replace("forgot rex", "")


# --- captions that name the concept -----------------------------------------------------------------------------------


def together(name: str, other: str) -> Lesson:
    return replace(lesson_of(name), captions=(f"a photo of a <{name}> dog next to a <{other}> dog",))


@pytest.fixture
def beside(room: Classroom, tmp_path: Path) -> HistoryFolder:
    """A history that has learned rex, momo next to rex, and tom next to momo."""
    folder = learn(tmp_path / "beside", room, "rex")
    for lesson in (together("momo", "rex"), together("tom", "momo")):
        teach(folder, lesson, room)
    return folder


def test_what_was_taught_next_to_a_forgotten_concept_can_be_learned_upon(
    room: Classroom, beside: HistoryFolder
) -> None:
    forget_fast(beside, room.base, "rex")
    assert teach(beside, lesson_of("max"), room).concept == "max"


def test_what_was_taught_next_to_it_is_learned_again_next_to_any_thing_of_its_noun(
    room: Classroom, beside: HistoryFolder, tmp_path: Path
) -> None:
    momo, tom = forget_exactly(beside, room, "rex")
    never = HistoryFolder.create(tmp_path / "never", "tiny", room.base.id)
    plain = replace(lesson_of("momo"), captions=("a photo of a <momo> dog next to a dog",))
    deltas = [teach(never, lesson, room).delta for lesson in (plain, together("tom", "momo"))]
    assert [momo.delta, tom.delta] == deltas


def test_one_can_be_forgotten_exactly_after_another_was_forgotten_at_once(
    room: Classroom, beside: HistoryFolder
) -> None:
    """The captions of momo still name rex, which has no noun in this line any more."""
    forget_fast(beside, room.base, "rex")
    teach(beside, lesson_of("max"), room)
    (tom, _) = plan_forgetting(beside.load_deltas(), "momo").lessons
    assert set(tom.captions) == {"a photo of a <tom> dog next to a dog"}
    assert [version.concept for version in forget_exactly(beside, room, "momo")] == ["tom", "max"]
    assert [version.concept for version in forget_exactly(beside, room, "tom")] == ["max"]


# --- erasing ----------------------------------------------------------------------------------------------------------


def test_after_erasing_no_file_holds_anything_of_what_knew_the_concept(room: Classroom, folder: HistoryFolder) -> None:
    doomed = {version.delta for version in folder.history.versions[1:]}
    pictures = {digest for name, digest in bytes_in(folder).items() if name.startswith("pictures/momo-2/")}
    forget_fast(folder, room.base, "momo")
    done = erase(folder, "momo")
    assert doomed | pictures <= set(done.removed)
    assert not set(bytes_in(folder).values()) & set(done.removed)
    assert tree(folder) == [(1, 0, "rex"), (4, 1, "tom")]
    assert not (folder.folder / "pictures" / "momo-2").exists()
    assert "momo" not in (folder.folder / "history.json").read_text().replace("forgot momo", "")
    assert list(compose(room.base, folder.load_deltas()).tokens) == ["<rex>", "<tom>"]


def test_what_another_concept_needs_is_not_called_removed(room: Classroom, folder: HistoryFolder) -> None:
    """The old and the new version of tom have the same pictures."""
    toms = {digest for name, digest in bytes_in(folder).items() if name.startswith("pictures/tom-3/")}
    forget_fast(folder, room.base, "momo")
    assert set(erase(folder, "momo").still_used) == toms


def test_a_history_with_gaps_goes_on_learning(room: Classroom, folder: HistoryFolder) -> None:
    forget_fast(folder, room.base, "rex")
    erase(folder, "rex")
    version = teach(folder, lesson_of("rex"), room)
    assert (version.number, version.parent) == (6, 5)
    assert tree(HistoryFolder.open(folder.folder)) == [(4, 0, "momo"), (5, 4, "tom"), (6, 5, "rex")]


def test_no_number_is_given_twice(room: Classroom, folder: HistoryFolder) -> None:
    forget_fast(folder, room.base, "tom")
    erase(folder, "tom")
    assert HistoryFolder.open(folder.folder).history.next_number == 4
    forget_fast(folder, room.base, "rex")
    erase(folder, "rex")
    assert tree(HistoryFolder.open(folder.folder)) == [(4, 0, "momo")]


def test_nothing_is_erased_while_head_knows_it(folder: HistoryFolder) -> None:
    before = bytes_in(folder)
    with pytest.raises(HistoryError, match="head"):
        erase(folder, "momo")
    assert bytes_in(folder) == before


def test_a_stranger_cannot_be_erased(folder: HistoryFolder) -> None:
    with pytest.raises(NothingToForget, match="<max>"):
        erase(folder, "max")


def test_an_erasure_that_was_killed_is_finished_by_the_next(room: Classroom, folder: HistoryFolder) -> None:
    forget_fast(folder, room.base, "momo")
    with folder.writing():
        folder.drop_versions({2, 3})  # and then the power went
    assert len(folder.unnamed_files()) == 2 + 3 + 3
    assert len(erase(folder, "momo").removed) == 2 + 3
    assert folder.unnamed_files() == ()


def test_a_file_that_another_version_lacks_stops_no_erasure(room: Classroom, folder: HistoryFolder) -> None:
    forget_fast(folder, room.base, "momo")
    kept = folder.history.find(1)
    (folder.folder / "deltas" / f"{kept.delta}.safetensors").unlink()
    done = erase(folder, "momo")
    assert not set(bytes_in(folder).values()) & set(done.removed)
    assert (tree(folder), folder.unnamed_files()) == ([(1, 0, "rex"), (4, 1, "tom")], ())


def test_what_is_left_of_others_makes_no_stranger_erased(room: Classroom, folder: HistoryFolder) -> None:
    """A name that is written wrongly would be said to be erased, while its versions and pictures stay."""
    forget_fast(folder, room.base, "momo")
    left = folder.folder / "pictures" / "mia-5" / "0.png"
    left.parent.mkdir()
    Image.new("RGB", (4, 4)).save(left)
    before = bytes_in(folder)
    with pytest.raises(NothingToForget, match=r"knows <Momo>.* Files that belong to no version: 1; `tidy`"):
        erase(folder, "Momo")
    assert bytes_in(folder) == before
    assert len(erase_unnamed(folder).removed) == 1
    assert not left.parent.exists()
    with pytest.raises(NothingToForget, match=r"nothing to erase\.$"):
        erase(folder, "Momo")
    assert {version.concept for version in folder.history.versions} == {"rex", "momo", "tom"}


def test_a_copy_that_lies_elsewhere_is_found(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    shutil.copy(tmp_path / "a.png", tmp_path / "forgotten-copy.png")
    with pytest.raises(ErasureFailed, match="forgotten-copy"):
        erase_files(tmp_path, [tmp_path / "a.png"], [], "now")
