"""WebDataset shards: read as the library reads them, image bytes verbatim, damaged and hostile shards told."""

from __future__ import annotations

import io
import json
import random
import tarfile
from pathlib import Path
from typing import Any

import pytest
from foreign_readers import webdataset_samples
from pictures import png

import cas
from cas.errors import InvalidInputError
from cas.integrations.formats.landing import import_into
from cas.integrations.formats.webdataset import expand_shards, open_webdataset

SAMPLES: list[dict[str, Any]] = [
    {"__key__": "a/0001", "png": png(1), "cls": 3, "json": {"x": [1, 2.5]}, "txt": "ein Wörtchen", "seg.png": png(7)},
    {"__key__": "a/0002", "png": png(2), "cls": 0, "json": {}, "txt": "", "pyd": b"\x80\x00"},
    {"__key__": "b/0001", "png": png(1), "cls": -1, "json": {"deep": {"y": None}}, "txt": "x"},
]


def raw_tar(path: Path, members: list[tuple[str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def encoded(sample: dict[str, Any]) -> dict[str, bytes]:
    """The members of a sample as bytes."""
    values = {name: value for name, value in sample.items() if name != "__key__"}
    return {
        name: value
        if isinstance(value, bytes)
        else str(value).encode()
        if isinstance(value, int | str)
        else json.dumps(value).encode()
        for name, value in values.items()
    }


@pytest.fixture
def shards(tmp_path: Path) -> list[Path]:
    """Two shards, as the library writes them."""
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed")
    paths = [tmp_path / "shard-000.tar", tmp_path / "shard-001.tar"]
    for path, samples in zip(paths, (SAMPLES[:2], SAMPLES[2:]), strict=True):
        with webdataset.TarWriter(str(path)) as sink:
            for sample in samples:
                sink.write({"__key__": sample["__key__"], **encoded(sample)})
    return paths


def test_columns_are_the_extensions(shards: list[Path], tmp_path: Path) -> None:
    import_into(tmp_path / "ds", open_webdataset(shards))
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert {name: str(type_) for name, type_ in ds.schema.items()} == {
            "key": "text",
            "png": "image",
            "cls": "int64",
            "json": "dict",
            "txt": "text",
            "seg.png": "image?",
            "pyd": "bytes?",
        }
        assert ds["key"][:] == ["a/0001", "a/0002", "b/0001"]
        assert [ds["png"].bytes(row) for row in range(3)] == [png(1), png(2), png(1)]
        assert ds["seg.png"].bytes(0) == png(7)
        assert ds["cls"][:].tolist() == [3, 0, -1]
        assert ds["json"][:] == [sample["json"] for sample in SAMPLES]
        assert ds["txt"][:] == [sample["txt"] for sample in SAMPLES]
        assert ds["pyd"][:] == [None, b"\x80\x00", None]


def test_rows_are_those_that_the_library_reads(shards: list[Path], tmp_path: Path) -> None:
    pattern = str(tmp_path / "shard-{000..001}.tar")
    import_into(tmp_path / "ds", open_webdataset([pattern]))
    theirs = webdataset_samples(pattern)
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert [sample["__key__"] for sample in theirs] == ds["key"][:]
        assert [sample["png"] for sample in theirs] == [ds["png"].bytes(row) for row in range(len(ds))]
        assert [sample["txt"].decode() for sample in theirs] == ds["txt"][:]


def test_import_again(shards: list[Path], tmp_path: Path) -> None:
    first = import_into(tmp_path / "ds", open_webdataset(shards))
    assert import_into(tmp_path / "ds", open_webdataset([tmp_path])).version == first.version
    members = [(f"{s['__key__']}.{name}", data) for s in SAMPLES[:2] for name, data in encoded(s).items()]
    raw_tar(shards[0], [(name, data.replace(b"3", b"4") if name == "a/0001.cls" else data) for name, data in members])
    result = import_into(tmp_path / "ds", open_webdataset(shards))
    assert result.counts() == {"added": 0, "changed": 1, "removed": 0, "unchanged": 2}


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_shards(tmp_path: Path, mode: str) -> None:
    path = raw_tar(tmp_path / f"s.tar.{mode[2:]}", [("1.PNG", png(1)), ("1.cls", b"007")], mode)
    import_into(tmp_path / "ds", open_webdataset([path]))
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert ds["png"].bytes(0) == png(1)
        assert ds["cls"][:] == ["007"]  # not a number that would read back as it was written


def test_hostile_and_odd_members_are_listed(tmp_path: Path) -> None:
    path = raw_tar(
        tmp_path / "s.tar",
        [
            ("1.png", png(1)),
            ("../../2.png", png(2)),
            ("/etc/3.png", png(3)),
            ("README", b"x"),
            (".hidden", b"x"),
            ("4.png", b""),
        ],
    )
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("5.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        folder = tarfile.TarInfo("sub")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    result = import_into(tmp_path / "ds", open_webdataset([path]))
    assert [(item.path, item.reason) for item in result.skipped] == [
        ("s.tar: ../../2.png", "its name leads out of a folder"),
        ("s.tar: /etc/3.png", "its name leads out of a folder"),
        ("s.tar: README", "its name has no key and extension, as in 0001.jpg"),
        ("s.tar: .hidden", "its name has no key and extension, as in 0001.jpg"),
        ("s.tar: 5.png", "it is not a regular file"),
        ("4", "it is no image: the file is empty"),
    ]
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert ds["key"][:] == ["1"]


def test_json_that_is_no_object_stays_text(tmp_path: Path) -> None:
    path = raw_tar(tmp_path / "s.tar", [("1.json", b"{}"), ("2.json", b" [1]\n")])
    import_into(tmp_path / "ds", open_webdataset([path]))
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert ds["json"][:] == ["{}", " [1]\n"]


def test_damaged_shards_are_one_error(tmp_path: Path) -> None:
    whole = raw_tar(tmp_path / "s.tar", [(f"{i}.png", png(i, 64)) for i in range(3)]).read_bytes()
    packed = raw_tar(tmp_path / "z.tar.gz", [("1.png", png(1, 64))], "w:gz").read_bytes()
    cases = [b"", b"no tar at all" * 100, whole[:3000], whole[:512] + b"\xff" * 2000, packed[:-40], packed[:30]]
    for number, content in enumerate(cases):
        path = tmp_path / f"broken-{number}.tar"
        path.write_bytes(content)
        with pytest.raises(InvalidInputError, match=f"broken-{number}.tar"):
            import_into(tmp_path / "ds", open_webdataset([path]))
        assert not cas.exists(tmp_path / "ds")
    with pytest.raises(InvalidInputError, match="No such file"):
        open_webdataset([tmp_path / "none-{0..1}.tar"])


def test_no_damage_goes_unseen_or_raises_anything_else(tmp_path: Path) -> None:
    """Of a shard with a flipped byte the header's checksum tells; in contents it may be anything."""
    path = raw_tar(tmp_path / "s.tar", [(f"{i}.cls", b"12") for i in range(4)] + [("4.png", png(1))])
    whole = path.read_bytes()
    chance = random.Random(7)
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[chance.randrange(len(damaged))] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        try:
            list(open_webdataset([path]).batches())
        except InvalidInputError:
            refused += 1
    assert refused > 10


def test_shards_that_are_refused(tmp_path: Path) -> None:
    twice = raw_tar(tmp_path / "twice.tar", [("1.png", png(1)), ("1.png", png(2))])
    with pytest.raises(InvalidInputError, match=r"two members 1\.png in one row"):
        open_webdataset([twice])
    with pytest.raises(InvalidInputError, match="'key'"):
        open_webdataset([raw_tar(tmp_path / "key.tar", [("1.key", b"x")])])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInputError, match="there are no shards"):
        open_webdataset([tmp_path / "empty"])
    with pytest.raises(InvalidInputError, match="no members with a key"):
        open_webdataset([raw_tar(tmp_path / "none.tar", [("README", b"x")])])


def test_braces(tmp_path: Path) -> None:
    assert [path.name for path in expand_shards("s-{008..011}.tar")] == [f"s-{n:03}.tar" for n in range(8, 12)]
    assert [path.name for path in expand_shards("{train,val}-{0..1}.tar")] == [
        f"{split}-{n}.tar" for split in ("train", "val") for n in (0, 1)
    ]
    odd = raw_tar(tmp_path / "s-{0..1}.tar", [("1.png", png(1))])
    assert expand_shards(odd) == [odd]
    for pattern in ("{0..999999999}", "{5..1}", "{0..999}{0..999}{0..9}"):
        with pytest.raises(InvalidInputError):
            expand_shards(pattern)
