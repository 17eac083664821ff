"""Every type: values come back, a schema record comes back, streams have the layouts that the type names."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typed_values import ALL, Kind, plain

from cas import types
from cas.codec.values import decode_values, encode_values, single_values


@pytest.mark.parametrize("name", ALL)
@settings(max_examples=40)
@given(data=st.data())
def test_values_come_back(name: str, data: st.DataObject) -> None:
    kind: Kind = ALL[name]
    values: list[Any] = data.draw(st.lists(kind.values, max_size=4))
    streams = encode_values(kind.type, values, "c")
    layouts = kind.type.layouts()
    assert {stream: rows.row_bytes for stream, rows in streams.items()} == {
        stream: layout.row_bytes for stream, layout in layouts.items()
    }
    assert {rows.count for rows in streams.values()} == {len(values)}
    decoded = decode_values(kind.type, streams)
    assert plain(list(decoded)) == plain([kind.reads(value) for value in values])
    assert plain(list(single_values(kind.type, decoded))) == plain(list(decoded))
    # Rows in any order, as a selection of them is read.
    backwards = {stream: rows.take(range(len(values))[::-1]) for stream, rows in streams.items()}  # type: ignore[arg-type]
    assert plain(list(decode_values(kind.type, backwards))) == plain(list(decoded)[::-1])


@pytest.mark.parametrize("name", ALL)
def test_a_type_is_a_value(name: str) -> None:
    type_ = ALL[name].type
    again = types.from_record(type_.to_record())
    assert again == type_
    assert hash(again) == hash(type_)
    assert pickle.loads(pickle.dumps(type_)) == type_
    assert eval(repr(type_), vars(types)) == type_
    assert types.as_type(type_) is type_
    assert not hasattr(type_, "__dict__")
    assert 0 < len(str(type_)) < 60
