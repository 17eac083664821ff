"""The configuration that a store is made with, checked before anything else is read."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Final

from cas.chunking import cut
from cas.codec import cbor
from cas.codec.fields import is_id, is_time
from cas.errors import CorruptedError, UnsupportedError, shown
from cas.store.contract import STORE, Transaction, View
from cas.tree import node, split

STORE_FORMAT: Final = 1
ONE_DATASET: Final = "dataset"
MANY_DATASETS: Final = "datasets"
PARAMETERS: Final = {
    "single_row_bytes": cut.SINGLE_ROW_BYTES,
    "piece_bytes": cut.PIECE_BYTES,
    "min_bytes": cut.MIN_BYTES,
    "relax_bytes": cut.RELAX_BYTES,
    "max_bytes": cut.MAX_BYTES,
    "mean_bytes": cut.MEAN_BYTES,
    "relax_factor": cut.RELAX_FACTOR,
    "window_rows": cut.MAX_WINDOW,
    "sample_words": cut.MAX_WORDS,
    "min_children": split.MIN_CHILDREN,
    "mean_children": split.MEAN_CHILDREN,
    "max_children": node.MAX_CHILDREN,
}
_KEY: Final = b"config"


@dataclass(frozen=True, slots=True)
class Config:
    """What a store is: its layout (one dataset or many), id and time of creation."""

    layout: str
    uuid: bytes
    created: int


def write_config(txn: Transaction, layout: str) -> None:
    """Writes the configuration of a new store."""
    record = {
        "format": STORE_FORMAT,
        "features": [],
        "layout": layout,
        "uuid": uuid.uuid4().bytes,
        "created": txn.timestamp(),
        "parameters": PARAMETERS,
    }
    txn.put(STORE, _KEY, cbor.encode(record))


def read_config(view: View, where: str) -> Config:
    """Returns the configuration of the store in ``where``.

    Raises :class:`~cas.errors.UnsupportedError` for a format number, feature or parameter this version does not know.
    """
    data = view.get(STORE, _KEY)
    if data is None:
        raise CorruptedError(f"the store {where} has no configuration", blob=where)
    record = cbor.decode(data, what=f"configuration of {where}")
    if not isinstance(record, dict):
        raise CorruptedError(f"the configuration of the store {where} is damaged", blob=where)
    if record.get("format") != STORE_FORMAT:
        raise UnsupportedError(
            f"the store {where} has format {shown(record.get('format'))}, this version of cas knows {STORE_FORMAT}; "
            f"install a newer one"
        )
    features = record.get("features")
    if features != []:
        raise UnsupportedError(
            f"the store {where} requires the features {shown(features, 200)}, unknown to this version of cas; "
            f"install a newer one"
        )
    if record.get("parameters") != PARAMETERS:
        raise UnsupportedError(f"the store {where} was made with other chunking parameters; install a newer cas")
    match record:
        case {"layout": "dataset" | "datasets" as layout, "uuid": id_, "created": created} if is_id(id_) and is_time(
            created
        ):
            return Config(layout, id_, created)
    raise CorruptedError(f"the configuration of the store {where} is damaged", blob=where)
