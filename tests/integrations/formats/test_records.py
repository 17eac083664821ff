"""CSV and JSONL: types by content without loss, images by path, and nothing outside of the folder."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import png, write_tree

import cas
from cas import types
from cas.errors import InvalidInputError, StoreError
from cas.integrations.formats.delimited import open_csv
from cas.integrations.formats.json_lines import open_json_lines
from cas.integrations.formats.landing import import_into
from cas.integrations.formats.value_types import TextValues, is_float, reader_of


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def schema_of(source: Any) -> dict[str, str]:
    return {name: str(type_) for name, type_ in source.schema.items()}


# Types


def test_csv_columns_are_typed_by_all_of_their_fields(tmp_path: Path) -> None:
    file = write(
        tmp_path / "t.csv",
        "id,zip,score,flag,note,big,mixed,none\n1,007,0.50,true,,18446744073709551615,1,\n-2,123,1e-3,false,a,0,x,\n",
    )
    assert schema_of(open_csv(file)) == {
        "id": "int64",
        "zip": "text",
        "score": "float64",
        "flag": "bool",
        "note": "text",
        "big": "uint64",
        "mixed": "text",
        "none": "text",
    }
    import_into(tmp_path / "ds", open_csv(file))
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert ds["id"][:].tolist() == [1, -2]
        assert ds["zip"][:] == ["007", "123"]
        assert ds["score"][:].tolist() == [0.5, 0.001]
        assert ds["flag"][:].tolist() == [True, False]
        assert ds["note"][:] == ["", "a"]
        assert ds["big"][:].tolist() == [2**64 - 1, 0]


def test_empty_fields_of_numbers_are_missing(tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", "a,b,c\n1,,nan\n,2.5,1\n")
    import_into(tmp_path / "ds", open_csv(file))
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert list(map(str, ds.schema.values())) == ["int64?", "float64?", "float64"]
        assert ds["a"][:] == [1, None]
        assert ds["b"][:] == [None, 2.5]
        assert np.isnan(ds["c"][0])


@given(st.lists(st.one_of(st.integers(), st.floats(), st.booleans(), st.text(max_size=5), st.decimals()).map(str)))
def test_no_field_loses_anything(fields: list[str]) -> None:
    """Numbers are equal to the last digit that was given; whatever else there is stays text, as it was."""
    seen = TextValues()
    for field in fields:
        seen.add(field)
    read = reader_of(seen.type())
    for field in fields:
        value = read(field)
        if isinstance(value, str):
            assert value == field
        elif isinstance(value, bool):
            assert str(value).lower() == field.lower()
        elif isinstance(value, int):
            assert str(value) == field
        elif value is None:
            assert field == ""
        else:
            assert value != value or float(field) == value


@given(st.floats(-1e300, 1e300), st.sampled_from([0, 5, 14, 16, 17, 18, 25]))
def test_all_spellings_of_floats_are_floats(value: float, digits: int) -> None:
    assert is_float(repr(value))
    assert is_float(f"{value:.{digits}e}")
    assert is_float(f"{value:.17g}")


def test_jsonl_columns(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"i": 1, "f": 1, "s": "a", "l": [1, 2], "d": {"x": [1.5, None]}, "n": None, "ll": [[1.5], []], "b": True},
        {"i": None, "f": 0.5, "s": "ü\u2028", "l": [], "d": {}, "n": None, "ll": [], "b": False, "late": "x"},
    ]
    file = write(tmp_path / "t.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n")
    import_into(tmp_path / "ds", open_json_lines(file))
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert {name: str(type_) for name, type_ in ds.schema.items()} == {
            "i": "int64?",
            "f": "float64",
            "s": "text",
            "l": "sequence[int64]",
            "d": "dict",
            "n": "text?",
            "ll": "sequence[sequence[float64]]",
            "b": "bool",
            "late": "text?",
        }
        assert ds["i"][:] == [1, None]
        assert ds["d"][:] == [{"x": [1.5, None]}, {}]
        assert ds["late"][:] == [None, "x"]
        assert ds["s"][1] == "ü\u2028"
        assert ds["l"][0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": 1}\n{"a": "x"}\n', r"column 'a' holds int \('1'\) and str"),
        ('{"a": 1}\n[1]\n', "line 2: expected a JSON object"),
        ('{"a": 1}\n{"a": \n', "line 2: it is no JSON"),
        ('{"a": 1, "a": 2}\n', "key 'a' twice"),
        ('{"a": 9007199254740993}\n{"a": 0.5}\n', "without loss"),
        ('{"a": 99999999999999999999}\n', "without loss"),
        ("[" * 100_000, "line 1: the JSON is nested too deeply|expected a JSON object"),
        ("", "has no rows"),
    ],
)
def test_jsonl_that_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        open_json_lines(write(tmp_path / "t.jsonl", text))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a,b\n1\n", "line 2: 1 fields, and 2 columns"),
        (b"a,a\n1,2\n", "two columns 'a'"),
        (b'a,b\n1,"2\n', "unexpected end of data"),
        (b"a\n\xff\n", "not UTF-8"),
        (b"", "is empty"),
    ],
)
def test_csv_that_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InvalidInputError, match=reason):
        open_csv(tmp_path / "t.csv")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        open_csv(tmp_path / "none.csv")


def test_tabs_quotes_and_byte_order_marks(tmp_path: Path) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, delimiter="\t").writerows([["a", "b"], ["x\ty", 'say "hi"\nthere'], ["ü", "z"]])
    (tmp_path / "t.tsv").write_bytes(b"\xef\xbb\xbf" + buffer.getvalue().encode())
    import_into(tmp_path / "ds", open_csv(tmp_path / "t.tsv"))
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert ds["a"][:] == ["x\ty", "ü"]
        assert ds["b"][:] == ['say "hi"\nthere', "z"]


# Images


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_tree(tmp_path / "data", {"a.png": png(1), "sub/b.png": png(2), "c.png": b"no image"})
    (tmp_path / "secret.png").write_bytes(png(9))
    return tmp_path / "data"


def test_images_are_read_beside_the_file(folder: Path, tmp_path: Path) -> None:
    file = write(folder / "t.csv", "file,label\na.png,0\n./sub/b.png,1\n")
    source = open_csv(file)
    assert schema_of(source) == {"file": "text", "label": "int64", "image": "image"}
    import_into(tmp_path / "ds", source)
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert ds["file"][:] == ["a.png", "./sub/b.png"]
        assert [ds["image"].bytes(row) for row in range(2)] == [png(1), png(2)]


def test_a_column_of_paths_called_image_becomes_path(folder: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "t.jsonl", '{"image": "a.png", "label": "x"}\n')
    source = open_json_lines(file, images=folder)
    assert schema_of(source) == {"path": "text", "label": "text", "image": "image"}
    assert source.key == "path"
    import_into(tmp_path / "ds", source)
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert (ds["path"][0], ds["image"].bytes(0)) == ("a.png", png(1))
    with pytest.raises(InvalidInputError, match="'image' and 'path'"):
        open_csv(write(folder / "t.csv", "image,path\na.png,a.png\n"), image="image")


def test_no_path_leads_out_of_the_folder(folder: Path, tmp_path: Path) -> None:
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "up").symlink_to(tmp_path)
    paths = [
        "a.png",
        "../secret.png",
        "sub/../../secret.png",
        str(tmp_path / "secret.png"),
        "link.png",
        "up/secret.png",
    ]
    file = write(folder / "t.csv", "file\n" + "".join(f"{path}\n" for path in [*paths, str(folder / "sub/b.png")]))
    result = import_into(tmp_path / "ds", open_csv(file))
    assert [item.path for item in result.skipped] == paths[1:]
    reasons = [item.reason for item in result.skipped]
    assert all("leads out of" in reason for reason in reasons[:3])
    assert "symbolic link" in reasons[3]
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert [ds["image"].bytes(row) for row in range(len(ds))] == [png(1), png(2)]


def test_missing_images_are_left_out_or_kept_without(folder: Path, tmp_path: Path) -> None:
    file = write(folder / "t.csv", "file,n\na.png,1\ngone.png,2\nc.png,3\n,4\n")
    result = import_into(tmp_path / "ds", open_csv(file, image="file"))
    assert [item.path for item in result.skipped] == ["gone.png", "c.png", "row 3"]
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert ds["n"][:].tolist() == [1]
    import_into(tmp_path / "all", open_csv(file, image="file"), missing="null")
    with cas.open_read_only(tmp_path / "all") as ds:
        assert str(ds.schema["image"]) == "image?"
        assert [value is None for value in ds["image"][:]] == [False, True, True, True]


def test_a_wrong_folder_is_told(folder: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "t.csv", "file\na.png\n")
    with pytest.raises(InvalidInputError, match=r"none of the first 1 images is below .* say with --images"):
        open_csv(file)
    assert schema_of(open_csv(file, image="")) == {"file": "text"}
    with pytest.raises(InvalidInputError, match="is not a folder"):
        open_csv(file, images=tmp_path / "none")


def test_the_column_is_asked_for_where_it_is_not_clear(folder: Path) -> None:
    file = write(folder / "t.csv", "left,right,n\na.png,sub/b.png,1\n")
    with pytest.raises(InvalidInputError, match=r"\['left', 'right'\] all seem to name images"):
        open_csv(file)
    assert open_csv(file, image="right").key == "right"
    with pytest.raises(InvalidInputError, match="no column of paths"):
        open_csv(file, image="n")


def test_a_file_that_cannot_be_read_ends_the_import(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the disk is no reason to drop a row."""
    from cas.integrations.folder.confined import ConfinedFolder

    file = write(folder / "t.csv", "file\na.png\n")
    source = open_csv(file)
    import_into(tmp_path / "ds", source)

    def fail(self: ConfinedFolder, path: str, block_bytes: int) -> Any:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(ConfinedFolder, "read", fail)
    with pytest.raises(StoreError, match="Input/output error; nothing was imported"):
        import_into(tmp_path / "ds", source)
    with cas.open_read_only(tmp_path / "ds") as ds:
        assert len(ds) == 1


def test_a_new_image_under_the_same_path_is_an_update(folder: Path, tmp_path: Path) -> None:
    file = write(folder / "t.csv", "file,n\na.png,1\nsub/b.png,2\n")
    import_into(tmp_path / "ds", open_csv(file))
    (folder / "a.png").write_bytes(png(7))
    result = import_into(tmp_path / "ds", open_csv(file))
    assert result.counts() == {"added": 0, "changed": 1, "removed": 0, "unchanged": 1}
    assert isinstance(types.as_type("image"), types.Image)
