"""Parameters and metrics: values that a version can keep, checked when they are set."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any, Final

from cas.codec import cbor
from cas.errors import InvalidInputError, InvalidTypeError, shown

MOST_BYTES: Final = 1 << 20


def plain_number(value: object) -> object:
    """Returns the number in a tensor without axes, or of one that another library has; anything else as it is."""
    item = getattr(value, "item", None)
    if item is None or type(value).__module__.partition(".")[0] == "numpy":
        return value
    if getattr(value, "ndim", 0) != 0:
        raise InvalidTypeError(f"a tensor of shape {tuple(getattr(value, 'shape', ()))} is no number; use run.output")
    number: object = item()
    return number


class Values(MutableMapping[str, Any]):
    """A mapping of text to metadata values; what does not fit is refused when it is set.

    What is read is a copy, as from ``ds.metadata``: to change one, assign it again.
    """

    def __init__(self, what: str, values: object = None) -> None:
        self._what = what
        self._encoded: dict[str, bytes] = {}
        if values is not None:
            try:
                self.update(values)  # type: ignore[call-overload]
            except (TypeError, ValueError) as error:
                if isinstance(error, InvalidInputError):
                    raise
                raise InvalidTypeError(f"{what} are {shown(values)}; expected a dict with str keys") from None

    def __setitem__(self, key: str, value: object) -> None:
        if not isinstance(key, str):
            raise InvalidTypeError(f"a name in the {self._what} is {shown(key)}; expected text")
        try:
            encoded = cbor.encode_value([key, plain_number(value)])
        except InvalidInputError as error:
            raise type(error)(f"{key!r} in the {self._what}: {error}") from None
        size = sum(map(len, self._encoded.values())) - len(self._encoded.get(key, b"")) + len(encoded)
        if size > MOST_BYTES:
            raise InvalidInputError(
                f"with {key!r} the {self._what} would take {size} bytes, of at most {MOST_BYTES}: every list of runs "
                f"reads them; keep it with run.output"
            )
        self._encoded[key] = encoded

    def __getitem__(self, key: str) -> Any:
        return cbor.decode_value(self._encoded[key], what=self._what)[1]

    def __delitem__(self, key: str) -> None:
        del self._encoded[key]

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._encoded))

    def __len__(self) -> int:
        return len(self._encoded)

    def __repr__(self) -> str:
        return repr(dict(self))
