"""The formats that an import knows, and which one something is in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cas.errors import InvalidInputError
from cas.integrations.formats.source import Source

IMAGEFOLDER: Final = "imagefolder"
SAFETENSORS: Final = "safetensors"
FORMATS: Final[Mapping[str, str]] = {
    IMAGEFOLDER: "a folder of images, the first level of folders being the labels",
    "coco": "a COCO annotation file (.json), with its images below --images",
    "webdataset": "tar files, also as shard-{000..010}.tar, or a folder of them",
    "huggingface": "a folder that save_to_disk of the library datasets wrote",
    "parquet": "parquet files, or a folder of them",
    "csv": "a table with a line of column names; .tsv with tabs",
    "jsonl": "a JSON object a line",
    SAFETENSORS: "a checkpoint, or the .safetensors.index.json of one in several files",
}
_SUFFIXES: Final[Mapping[str, str]] = {
    ".safetensors": SAFETENSORS,
    ".safetensors.index.json": SAFETENSORS,
    ".json": "coco",
    ".tar": "webdataset",
    ".tgz": "webdataset",
    ".tar.gz": "webdataset",
    ".tar.bz2": "webdataset",
    ".tar.xz": "webdataset",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}
_OPTIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "coco": ("images",),
    "webdataset": (),
    "huggingface": ("images",),
    "parquet": ("images", "image"),
    "csv": ("images", "image"),
    "jsonl": ("images", "image"),
}
_SEVERAL: Final = ("webdataset", "parquet")
_SAVED_NAMES: Final = ("dataset_dict.json", "state.json")
"""Files by which a folder that Hugging Face's library saved is known."""


def recognise_format(path: str | Path) -> str:
    """Returns the format of a file by its name, of a folder by what is in it.

    Raises :class:`~cas.errors.InvalidInputError` for a file of another name, also where there is none.
    """
    found = Path(path)
    if found.is_dir():
        return _folder_format(found)
    for suffix, name in _SUFFIXES.items():
        if found.name.lower().endswith(suffix):
            return name
    if not found.exists():
        raise InvalidInputError(f"there is no file or folder {path}; expected what is to be imported")
    raise InvalidInputError(
        f"{path} has a name of no known format; say with --format which one it is: {', '.join(FORMATS)}"
    )


def _folder_format(folder: Path) -> str:
    names = {file.name for file in folder.iterdir()}
    if names & set(_SAVED_NAMES):
        return "huggingface"
    for suffix, name in ((".tar", "webdataset"), (".parquet", "parquet")):
        shown = [other for other in names if not other.startswith((".", "_"))]
        if shown and all(other.endswith((suffix, ".json", ".md")) for other in shown):
            return name if any(other.endswith(suffix) for other in shown) else IMAGEFOLDER
    return IMAGEFOLDER


def open_source(format_: str, paths: Sequence[str], **options: Any) -> Source:
    """Returns the rows of what is in a format other than ``imagefolder`` and ``safetensors``.

    ``options`` are ``images`` and ``image``; those that are None count as not given. Raises
    :class:`~cas.errors.InvalidInputError` for an option that the format has no use for, and for several paths where it
    takes one.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in _OPTIONS[format_]:
            raise InvalidInputError(f"the format {format_} has no use for --{name}; leave it out")
    if len(paths) > 1 and format_ not in _SEVERAL:
        raise InvalidInputError(f"the format {format_} takes one source; import {len(paths)} of them one by one")
    match format_:
        case "coco":
            from cas.integrations.formats.coco import open_coco

            return open_coco(paths[0], **given)
        case "webdataset":
            from cas.integrations.formats.webdataset import open_webdataset

            return open_webdataset(paths)
        case "huggingface":
            from cas.integrations.formats.huggingface import open_saved

            return open_saved(paths[0], **given)
        case "parquet":
            from cas.integrations.formats.parquet import open_parquet

            return open_parquet(paths, **given)
        case "csv":
            from cas.integrations.formats.delimited import open_csv

            return open_csv(paths[0], **given)
    from cas.integrations.formats.json_lines import open_json_lines

    return open_json_lines(paths[0], **given)
