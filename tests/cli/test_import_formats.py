"""``cas import`` of other formats than folders, and ``cas export``: formats told apart, options, exit codes, facts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from pictures import png, read_tree, write_tree

import cas
from cas.cli.main import cli
from cas.errors import CasError, ExistsError, InvalidInputError
from cas.integrations.formats.exporting import FORMATS as EXPORTED
from cas.integrations.formats.opening import FORMATS, recognise_format


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, list(map(str, arguments)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def facts(*arguments: object) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with pictures, a table and an annotation file, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    write_tree(tmp_path / "pictures", {"cat/1.png": png(1), "dog/2.png": png(2)})
    (tmp_path / "table.csv").write_text("file,n\ncat/1.png,1\ndog/2.png,2\ngone.png,3\n")
    coco = {
        "images": [{"id": 1, "file_name": "cat/1.png"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}],
        "categories": [{"id": 1, "name": "cat"}],
    }
    (tmp_path / "instances.json").write_text(json.dumps(coco))
    run("init", "lake")
    return tmp_path


def test_help_lists_the_formats() -> None:
    for command, formats in (("import", FORMATS), ("export", EXPORTED)):
        text = run(command, "--help").stdout
        for name, meaning in formats.items():
            assert f"{name:12} {meaning}" in text


def test_tables_and_what_is_left_out(place: Path) -> None:
    result = run("import", "table.csv", "lake/table", "--images", "pictures", "-m", "a table")
    assert result.exit_code == 1
    assert "left out gone.png: there is no such file" in result.stderr
    assert "Made the dataset lake/table" in result.stdout
    assert "2 rows, read" in result.stdout
    assert "2 added, 0 changed, 0 removed, 0 unchanged, 1 left out" in result.stdout
    again = facts("import", "table.csv", "lake/table", "--images", "pictures")
    assert (again["made_version"], again["unchanged"], again["rows"]) == (False, 2, 2)
    kept = facts("import", "table.csv", "lake/all", "--images", "pictures", "--missing", "null")
    assert (kept["added"], [item["path"] for item in kept["skipped"]]) == (3, ["gone.png"])
    plain = run("import", "table.csv", "lake/plain", "--image", "")
    assert plain.exit_code == 0
    with cas.open_read_only("lake/plain") as ds:
        assert list(ds.schema) == ["file", "n"]


def test_annotations(place: Path) -> None:
    assert run("import", "instances.json", "lake/coco", "--images", "pictures").exit_code == 0
    with cas.open_read_only("lake/coco") as ds:
        assert ds["image"].bytes(0) == png(1)


def test_from_format_to_format(place: Path) -> None:
    """Image bytes go around all formats that hold images."""
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    assert run("import", "pictures", "lake/a").exit_code == 0
    assert run("export", "lake/a", "a.parquet").stdout.startswith("a.parquet has the 2 rows of version ")
    assert run("import", "a.parquet", "lake/b").exit_code == 0
    assert facts("export", "lake/b", "shards", "--format", "webdataset", "--shard-bytes", 1)["rows"] == 2
    assert sorted(read_tree(place / "shards")) == [".cas-export", "shard-000000.tar", "shard-000001.tar"]
    assert run("import", "shards/shard-{000000..000001}.tar", "lake/c").exit_code == 0
    assert run("import", "shards/shard-000000.tar", "shards/shard-000001.tar", "lake/d").exit_code == 0
    assert run("export", "lake/d", "out", "--format", "imagefolder", "-c", "png").exit_code == 0
    files = {path: content for path, content in read_tree(place / "out").items() if path != ".cas-export"}
    assert files == {"000000000.png": png(1), "000000001.png": png(2)}
    trees = {name: cas.open_read_only(f"lake/{name}").version.tree for name in "abcd"}
    assert trees["a"] == trees["b"]
    assert trees["c"] == trees["d"]


def test_exports_replace_only_by_force(place: Path) -> None:
    run("import", "pictures", "lake/a")
    assert run("export", "lake/a", "t.csv", "-c", "path").exit_code == 0
    with pytest.raises(ExistsError):
        run("export", "lake/a", "t.csv", "-c", "label")
    assert (place / "t.csv").read_text() == "path\ncat/1.png\ndog/2.png\n"
    assert run("export", "lake/a", "t.csv", "-c", "label", "--force").exit_code == 0
    assert (place / "t.csv").read_text() == "label\ncat\ndog\n"


def test_formats_are_told_by_names_and_contents(tmp_path: Path) -> None:
    names = {
        "a.json": "coco",
        "a.tar": "webdataset",
        "a.tar.gz": "webdataset",
        "shard-{0..9}.tar": "webdataset",
        "a.PARQUET": "parquet",
        "a.csv": "csv",
        "a.tsv": "csv",
        "a.jsonl": "jsonl",
    }
    assert {name: recognise_format(tmp_path / name) for name in names} == names
    folders = {
        "saved": ("huggingface", ["state.json", "data.arrow"]),
        "splits": ("huggingface", ["dataset_dict.json"]),
        "shards": ("webdataset", ["0.tar", "1.tar", "_gather.json"]),
        "tables": ("parquet", ["0.parquet", "README.md"]),
        "mixed": ("imagefolder", ["0.parquet", "a.png"]),
        "empty": ("imagefolder", []),
    }
    for name, (_, files) in folders.items():
        write_tree(tmp_path / name, dict.fromkeys(files, b""))
        (tmp_path / name).mkdir(exist_ok=True)
    assert {name: recognise_format(tmp_path / name) for name in folders} == {n: f for n, (f, _) in folders.items()}
    (tmp_path / "a.xyz").touch()
    with pytest.raises(InvalidInputError, match="of no known format; say with --format"):
        recognise_format(tmp_path / "a.xyz")
    with pytest.raises(InvalidInputError, match="there is no file or folder"):
        recognise_format(tmp_path / "missing.xyz")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("table.csv", "pictures", "lake/x"), "takes one source"),
        (("instances.json", "lake/x", "--image", "a"), "no use for --image"),
        (("none.csv", "lake/x"), "cannot be read"),
        (("pictures", "lake/x", "--images", "pictures"), "--images is not for a folder"),
        (("pictures", "pictures", "lake/x"), "one folder of images"),
        (("none", "lake/x", "--format", "imagefolder"), "is not a folder"),
        (("table.csv", "lake/x", "--rehash"), "are for folders of images"),
        (("instances.json", "lake/x", "--images", "none"), "is not a folder"),
    ],
)
def test_what_is_refused_makes_no_dataset(place: Path, arguments: tuple[str, ...], reason: str) -> None:
    try:
        text = run("import", *arguments).output
    except CasError as error:
        text = str(error)
    assert reason in text
    assert not cas.exists("lake/x")
