"""What is acknowledged was synced before, as the system saw it."""

from __future__ import annotations

from pathlib import Path

from system_calls import MakeDirectory, Resize, Say, Sync, Write, needs_tracer, traced

SCRIPT = """
    import os, sys
    import cas
    url = sys.argv[1] + "/deep/down/ds"

    def say(text):
        os.write(1, text.encode())

    ds = cas.create(url, {"x": "int64"})
    say("create")
    for number in range(3):
        ds.append({"x": range(1000)})
        ds.commit(str(number))
        say("commit")
        ds.tag(f"t{number}")
        say("tag")
        ds.metadata["k"] = number
        say("metadata")
        ds["x"][number] = -1
        ds.flush()
        say("flush")
        ds.branch(f"b{number}", version="main")
        say("branch")
    ds.commit()
    ds.undo()
    say("undo")
"""


@needs_tracer
def test_what_is_acknowledged_was_synced(tmp_path: Path) -> None:
    events = traced(SCRIPT, tmp_path)
    unsynced: set[str] = set()
    acknowledged = writes = 0
    for event in events:
        match event:
            case Write(path, _, synced) if path.endswith("data.mdb"):
                writes += 1
                if not synced:
                    unsynced.add(path)
            case Resize(path) if path.endswith("data.mdb"):
                unsynced.add(path)
            case Sync(path):
                unsynced.discard(path)
            case Say(text):
                acknowledged += 1
                assert writes, f"nothing was written before {text!r}"
                assert not unsynced, f"{text!r} was acknowledged before it was synced"
                writes = 0
    assert acknowledged == 17


@needs_tracer
def test_the_directories_of_a_new_store_are_synced(tmp_path: Path) -> None:
    events = traced(SCRIPT, tmp_path)
    until = events.index(Say("create"))
    made = [event.path for event in events if isinstance(event, MakeDirectory) and event.path != str(tmp_path)]
    synced = [event.path for event in events[:until] if isinstance(event, Sync)]
    assert f"{tmp_path}/deep" in made
    for path in {*made, str(tmp_path), f"{tmp_path}/deep/down/ds/cas-store"}:
        assert path in synced, f"{path} was not synced"
