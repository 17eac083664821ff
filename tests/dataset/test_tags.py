"""The pages Tag and Tags: names that stay with a version, durable at once."""

from __future__ import annotations

import datetime as dt
import multiprocessing
import pickle
import string
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    rule,
    run_state_machine_as_test,
)
from other_process import output, run

import cas
from cas.errors import (
    InvalidInputError,
    InvalidNameError,
    TagExistsError,
    TagNotFoundError,
    UncommittedChangesError,
    VersionNotFoundError,
)


@pytest.fixture
def ds(tmp_path: Path) -> cas.Dataset:
    dataset = cas.create(tmp_path / "ds", schema={"x": "int64"})
    for number in range(3):
        dataset.append({"x": [number]})
        dataset.commit(f"number {number}")
    return dataset


# --- making ---------------------------------------------------------------------------------------------------------


def test_a_tag_names_the_current_version_or_the_one_that_is_given(ds: cas.Dataset) -> None:
    before = dt.datetime.now(dt.UTC) - dt.timedelta(seconds=5)
    tag = ds.tag("v1.0", "as published")
    assert isinstance(tag, cas.Tag)
    assert (tag.name, tag.message, tag.version) == ("v1.0", "as published", ds.version)
    assert tag.version.message == "number 2"
    assert len(tag.id) == 32
    assert int(tag.id, 16) > 0
    assert tag.timestamp.tzinfo is dt.UTC
    assert before < ds.version.timestamp < tag.timestamp < before + dt.timedelta(minutes=5)
    assert ds.tag("plain").message == ""
    older = ds.history[1]
    for number, version in enumerate((older, older.id, older.id[:16], "main~3", "v1.0~3")):
        assert ds.tag(f"older {number}", version=version).version == older


def test_the_tag_stays_when_the_branch_moves(ds: cas.Dataset) -> None:
    tag = ds.tag("v1.0")
    there = tag.version.id
    ds.append({"x": [9]})
    ds.commit()
    assert ds.tags["v1.0"].version.id == tag.version.id == there != ds.version.id
    assert tag.open().x[:].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["", " ", "a b\n", "-x", "a..b", "a@b", "a~1", "a:b", "x" * 300, None, " a", 3, b"a",
                                  "\ud800", "a\0", "../up", "^", "\\"])  # fmt: skip
def test_odd_names_are_refused(ds: cas.Dataset, name: Any) -> None:
    with pytest.raises(InvalidNameError, match="tag name"):
        ds.tag(name)
    tag = ds.tag("good")
    with pytest.raises(InvalidNameError, match="tag name"):
        tag.rename(name)
    assert ds.tags.names() == ["good"]
    assert name not in ds.tags


@pytest.mark.parametrize("message", [5, b"bytes", ["list"], "\ud800"])
def test_odd_messages_are_refused_and_leave_nothing(ds: cas.Dataset, message: Any) -> None:
    with pytest.raises(InvalidInputError):
        ds.tag("v1", message)
    assert ds.tags.names() == []


def test_a_name_that_is_taken_is_refused(ds: cas.Dataset) -> None:
    tag, other = ds.tag("v1"), ds.tag("v2")
    with pytest.raises(TagExistsError, match=r"tag 'v1' exists already.*choose another") as caught:
        ds.tag("v1", version=ds.history[0])
    assert caught.value.name == "v1"
    with pytest.raises(TagExistsError, match="branch 'main'"):
        ds.tag("main")
    for taken in ("v2", "v1", "main"):
        with pytest.raises(TagExistsError):
            tag.rename(taken)
    assert [(found.name, found.id) for found in ds.tags] == [("v1", tag.id), ("v2", other.id)]


def test_uncommitted_rows_are_never_committed_behind_the_back(ds: cas.Dataset) -> None:
    ds.append({"x": [9]})
    with pytest.raises(UncommittedChangesError):
        ds.tag("v1")
    assert ds.tag("v1", version="main").open().x[:].tolist() == [0, 1, 2]
    assert ds.has_changes


def test_an_unknown_version_is_refused(ds: cas.Dataset) -> None:
    for version in ("nope", "0" * 64, "main~9", 3, b"main"):
        with pytest.raises(VersionNotFoundError):
            ds.tag("v1", version=version)  # type: ignore[arg-type]
    assert len(ds.tags) == 0


# --- finding --------------------------------------------------------------------------------------------------------


def test_tags_by_name_and_id(ds: cas.Dataset) -> None:
    made = [ds.tag(name) for name in ("b", "v1.0", "a", "Z", "é")]
    assert ds.tags.names() == ["Z", "a", "b", "v1.0", "é"] == sorted(ds.tags.names())
    assert [tag.name for tag in ds.tags] == ds.tags.names()
    assert all(type(tag) is cas.Tag for tag in ds.tags)
    assert len(ds.tags) == 5
    for tag in made:
        for key in (tag.name, tag.id):
            assert ds.tags[key] == tag
            assert ds.tags[key].name == tag.name
            assert key in ds.tags
        assert tag in ds.tags
    for missing in ("main", "nope", "", tag.id[:31], "0" * 32, None, 0, b"a", "x" * 5000):
        assert missing not in ds.tags
        with pytest.raises(LookupError):
            ds.tags[missing]  # type: ignore[index]
    with pytest.raises(TagNotFoundError, match=r"no tag 'nope'; the tags are: 'Z', 'a', 'b'") as caught:
        ds.tags["nope"]
    assert caught.value.name == "nope"
    assert repr(ds.tags) == "<Tags ['Z', 'a', 'b', 'v1.0', 'é']>"


def test_tags_of_a_dataset_without_any(ds: cas.Dataset) -> None:
    assert ds.tags.names() == list(ds.tags) == []
    assert len(ds.tags) == 0
    with pytest.raises(TagNotFoundError, match="the tags are: none"):
        ds.tags["v1"]


def test_tags_of_one_dataset_are_not_those_of_another(tmp_path: Path) -> None:
    cas.init(tmp_path / "lake")
    cats, dogs = (cas.create(tmp_path / "lake" / name) for name in ("cats", "dogs"))
    tag = cats.tag("v1")
    assert dogs.tags.names() == []
    assert tag not in dogs.tags
    assert dogs.tag("v1") != tag


def test_equality_and_hash_are_by_id(ds: cas.Dataset, tmp_path: Path) -> None:
    tag, other = ds.tag("v1"), ds.tag("v2")
    again = cas.open(tmp_path / "ds").tags["v1"]
    view = cas.open_read_only(tmp_path / "ds").tags["v1"]
    assert tag == again == view
    assert len({tag, again, view, other}) == 2
    assert tag != other
    assert tag != tag.id
    again.rename("v3")
    assert tag == again


def test_tags_travel_to_other_processes(ds: cas.Dataset, tmp_path: Path) -> None:
    tag = ds.tag("v1", "message")
    again = pickle.loads(pickle.dumps(tag))
    assert (again, again.name, again.message, again.version) == (tag, "v1", "message", tag.version)
    again.rename("v2")
    assert pickle.loads(pickle.dumps(ds.tags)).names() == ["v2"]
    script = """
    tag = pickle.loads(bytes.fromhex(sys.argv[2]))
    tag.rename("v3")
    print(tag.open().x[:].tolist())
    """
    assert output(script, tmp_path / "ds", pickle.dumps(tag).hex()) == "[0, 1, 2]"
    assert ds.tags.names() == ["v3"]


# --- changing -------------------------------------------------------------------------------------------------------


def test_rename_keeps_all_but_the_name(ds: cas.Dataset) -> None:
    tag = ds.tag("v1", "message", ds.history[1])
    facts = (tag.id, tag.message, tag.timestamp, tag.version)
    tag.rename("v2")
    for found in (tag, ds.tags["v2"], ds.tags[tag.id]):
        assert found.name == "v2"
        assert (found.id, found.message, found.timestamp, found.version) == facts
    assert ds.tags.names() == ["v2"]
    assert ds.tag("v1").id != tag.id


def test_delete_leaves_the_version(ds: cas.Dataset) -> None:
    tag = ds.tag("v1", version="main~1")
    tag.delete()
    assert ds.tags.names() == []
    assert tag not in ds.tags
    assert tag.version.open().x[:].tolist() == [0, 1]
    with pytest.raises(VersionNotFoundError):
        ds.tag("v2", version="v1")
    assert ds.tag("v1").id != tag.id


def uses(tag: cas.Tag) -> dict[str, Any]:
    return {"open": tag.open, "rename": lambda: tag.rename("new"), "delete": tag.delete}


@pytest.mark.parametrize("use", ["open", "rename", "delete"])
@pytest.mark.parametrize("by", ["itself", "another object", "another object, and the name is taken again"])
def test_a_deleted_tag_says_so(ds: cas.Dataset, use: str, by: str) -> None:
    tag = ds.tag("v1")
    (tag if by == "itself" else ds.tags["v1"]).delete()
    if "again" in by:
        ds.tag("v1", version=ds.history[0])
    left = [(found.name, found.id) for found in ds.tags]
    with pytest.raises(TagNotFoundError, match=r"tag 'v1' was deleted; its version .* is still there") as caught:
        uses(tag)[use]()
    assert caught.value.name == "v1"
    assert repr(tag) == f"<Tag 'v1' at {tag.version.id[:12]}, deleted>"
    assert [(found.name, found.id) for found in ds.tags] == left


def test_a_deleted_tag_says_so_to_readers(ds: cas.Dataset, tmp_path: Path) -> None:
    tag = ds.tag("v1")
    view = cas.open_read_only(tmp_path / "ds").tags["v1"]
    assert len(view.open()) == 3
    tag.delete()
    with pytest.raises(TagNotFoundError, match="was deleted"):
        view.open()
    assert repr(view) == f"<TagView 'v1' at {tag.version.id[:12]}, deleted>"


@pytest.mark.parametrize("use", ["open", "rename", "delete"])
def test_a_tag_renamed_through_another_object_is_found_again(ds: cas.Dataset, use: str) -> None:
    tag = ds.tag("v1")
    ds.tags["v1"].rename("v2")
    decoy = ds.tag("v1", version=ds.history[0])
    assert repr(tag) == f"<Tag 'v2' at {tag.version.id[:12]}>"
    old = uses(tag)[use]()
    if use == "open":
        assert len(old) == 3
    assert tag.name == {"open": "v2", "rename": "new", "delete": "v2"}[use]
    left = {"open": ["v1", "v2"], "rename": ["new", "v1"], "delete": ["v1"]}[use]
    assert ds.tags.names() == left
    assert ds.tags["v1"] == decoy


class TagMachine(RuleBasedStateMachine):
    """Tags and the objects that stand for them, against a dict from id to name."""

    objects = Bundle("objects")
    names = st.sampled_from(string.ascii_lowercase[:4])
    directory: Path

    def __init__(self) -> None:
        super().__init__()
        self.ds = cas.open(self.directory)
        for tag in self.ds.tags:
            tag.delete()
        self.model: dict[str, str] = {}

    @rule(target=objects, name=names)
    def make(self, name: str) -> Any:
        taken = name in self.model.values()
        try:
            tag = self.ds.tag(name)
        except TagExistsError:
            assert taken
            return None
        assert not taken
        self.model[tag.id] = name
        return tag

    @rule(target=objects, tag=objects)
    def look_up(self, tag: Any) -> Any:
        if tag is None or tag.id not in self.model:
            return None
        return self.ds.tags[tag.id]

    @rule(tag=objects, new=names)
    def rename(self, tag: Any, new: str) -> None:
        if tag is None:
            return
        try:
            tag.rename(new)
        except TagExistsError:
            assert tag.id in self.model
            assert new in self.model.values()
        except TagNotFoundError:
            assert tag.id not in self.model
        else:
            assert new not in self.model.values()
            assert tag.id in self.model
            self.model[tag.id] = tag.name

    @rule(tag=consumes(objects) | objects)
    def delete(self, tag: Any) -> None:
        if tag is None:
            return
        try:
            tag.delete()
        except TagNotFoundError:
            assert tag.id not in self.model
        else:
            assert self.model.pop(tag.id) == tag.name

    @invariant()
    def the_tags_are_those_of_the_model(self) -> None:
        assert {tag.id: tag.name for tag in self.ds.tags} == self.model
        assert self.ds.tags.names() == sorted(self.model.values())

    def teardown(self) -> None:
        self.ds.close()


def test_any_order_of_changes_agrees_with_a_dict(tmp_path: Path) -> None:
    cas.create(tmp_path / "ds").close()
    machine = type("Machine", (TagMachine,), {"directory": tmp_path / "ds"})
    run_state_machine_as_test(machine, settings=settings(max_examples=20, stateful_step_count=15, deadline=None))


# --- processes ------------------------------------------------------------------------------------------------------


def test_making_renaming_and_deleting_are_durable_at_once(ds: cas.Dataset, tmp_path: Path) -> None:
    for script, names in (
        ("cas.open(url).tag('v1'); os._exit(9)", ["v1"]),
        ("cas.open(url).tags['v1'].rename('v2'); os._exit(9)", ["v2"]),
        ("cas.open(url).tags['v2'].delete(); os._exit(9)", []),
    ):
        assert run(script, tmp_path / "ds").returncode == 9
        assert ds.tags.names() == names
    ds.tag("mine")
    assert output("print(cas.open(url).tags.names())", tmp_path / "ds") == "['mine']"


RACES = 10
RACERS = 4


def _race(url: Path, racer: int, start: Any, results: Any) -> None:
    ds = cas.open(url)
    for race in range(RACES):
        start.wait()
        try:
            tag = ds.tag(f"race {race}", f"racer {racer}")
            results.put((race, racer, tag.id))
        except TagExistsError:
            results.put((race, racer, None))


def test_of_four_processes_that_race_for_one_name_one_wins(ds: cas.Dataset, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(RACERS), context.Queue()
    arguments = [(tmp_path / "ds", racer, start, results) for racer in range(RACERS)]
    processes = [context.Process(target=_race, args=each) for each in arguments]
    for process in processes:
        process.start()
    outcomes = [results.get(timeout=60) for _ in range(RACES * RACERS)]
    for process in processes:
        process.join()
        assert process.exitcode == 0
    for race in range(RACES):
        won = [(racer, id_) for number, racer, id_ in outcomes if number == race and id_ is not None]
        assert len(won) == 1
        tag = ds.tags[f"race {race}"]
        assert [(tag.message, tag.id)] == [(f"racer {racer}", id_) for racer, id_ in won]
    assert len(ds.tags) == RACES
