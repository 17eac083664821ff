"""A dataset made of another library's table: its columns, its rows and one commit, or nothing at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cas.dataset.dataset import Dataset
from cas.dataset.opening import create, removed_on_failure
from cas.errors import ColumnNotFoundError, InvalidTypeError
from cas.repo.location import Url
from cas.types import Type, as_type


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be made: the columns, and what metadata they and the dataset begin with."""

    schema: Mapping[str, Type]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    column_metadata: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def given_types(schema: Mapping[str, Any] | None, names: list[str]) -> dict[str, Type]:
    """Returns the column types that the caller gives, by name; refuses one for a column that is not in the table."""
    if schema is not None and not isinstance(schema, Mapping):
        raise InvalidTypeError(f"schema {schema!r} is not valid; expected a dict of column names and types")
    for name in schema or {}:
        if name not in names:
            raise ColumnNotFoundError(f"the schema names {name!r}, which is no column; they are {names}", name=name)
    return {name: as_type(spec) for name, spec in (schema or {}).items()}


def make_dataset(url: Url, plan: Plan, rows: Any, message: str, *, compress: bool = True) -> Dataset:
    """Creates a dataset with rows, in any form that ``append`` takes, commits them and returns it, open on ``main``.

    Where a row does not fit, nothing is left of it.
    """
    dataset = create(url, plan.schema, compress=compress)
    with removed_on_failure(dataset):
        dataset.append(rows)
        dataset.metadata.update(plan.metadata)
        for name, metadata in plan.column_metadata.items():
            dataset[name].metadata.update(metadata)
        dataset.commit(message)
    return dataset
