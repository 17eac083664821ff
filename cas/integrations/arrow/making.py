"""Datasets made of whatever speaks Arrow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from cas.dataset.bridges import is_of
from cas.dataset.dataset import Dataset
from cas.dataset.readable import Readable
from cas.dataset.rows import RowRangeView
from cas.errors import InvalidInputError
from cas.integrations.arrow.appending import reader_of
from cas.integrations.arrow.dicts import dict_from_json
from cas.integrations.arrow.fields import KEY, field_facts
from cas.integrations.arrow.library import pa
from cas.integrations.arrow.tables import to_reader
from cas.integrations.arrow.types import cas_type
from cas.integrations.making import Plan, given_types, make_dataset
from cas.integrations.piecewise import check_names
from cas.repo.location import Url


def from_arrow(
    url: Url, table: Any, message: str | None, *, schema: Mapping[str, Any] | None, compress: bool
) -> Dataset:
    """Creates a dataset of whatever speaks Arrow and commits its rows; see :func:`cas.from_arrow`."""
    reader, chunks = _looked_at(table)
    names = reader.schema.names
    check_names(names)
    given = given_types(schema, names)
    fields = {field.name: field for field in reader.schema}
    types = {name: given[name] if name in given else cas_type(fields[name], chunks(name)) for name in names}
    kept = {name: field_facts(field).get("metadata") for name, field in fields.items()}
    plan = Plan(types, _metadata(reader.schema), {name: facts for name, facts in kept.items() if facts})
    return make_dataset(url, plan, reader, "Rows from Arrow" if message is None else message, compress=compress)


def _looked_at(table: Any) -> tuple[Any, Callable[[str], list[Any] | None]]:
    """A reader over a table, and what gives the chunks of a column: None of a stream, which can be read only once."""
    if isinstance(table, (Readable, RowRangeView)):
        return to_reader(table), lambda _: None
    if not _is_in_memory(table):
        return reader_of(table), lambda _: None
    whole = reader_of(table).read_all()
    return whole.to_reader(), lambda name: list(whole[name].chunks)


def _is_in_memory(table: Any) -> bool:
    """Whether a table can be looked through without a cost: tables of pyarrow, data frames, and what is one batch."""
    known = is_of("polars", "DataFrame", table) or isinstance(table, (pa.Table, pa.RecordBatch))
    return known or not hasattr(table, "__arrow_c_stream__")


def _metadata(schema: Any) -> dict[str, Any]:
    """The metadata of the dataset that a schema comes from."""
    try:
        metadata = dict_from_json((schema.metadata or {})[KEY].decode()).get("metadata")
    except (KeyError, InvalidInputError, UnicodeDecodeError):
        return {}
    return metadata if isinstance(metadata, dict) else {}
