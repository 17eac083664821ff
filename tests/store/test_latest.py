"""What was asked for last is kept, as much as fits."""

from __future__ import annotations

from cas.store.latest import Latest


def test_it_is_bounded_and_keeps_what_was_asked_for_last() -> None:
    kept: Latest[bytes] = Latest(100, len)
    for name in (b"a", b"b", b"c"):
        kept.put(name, name * 30)
    assert kept.get(b"a") == b"a" * 30
    kept.put(b"d", b"d" * 30)
    assert [kept.get(name) is not None for name in (b"a", b"b", b"c", b"d")] == [True, False, True, True]


def test_what_is_there_is_counted_once() -> None:
    kept: Latest[bytes] = Latest(100, len)
    for _ in range(9):
        kept.put(b"a", bytes(30))
    kept.put(b"b", bytes(30))
    kept.put(b"c", bytes(30))
    assert kept.get(b"a") == bytes(30)


def test_what_is_too_large_is_not_kept() -> None:
    kept: Latest[bytes] = Latest(100, len)
    kept.put(b"a", bytes(101))
    assert kept.get(b"a") is None
    kept.put(b"b", bytes(100))
    assert kept.get(b"b") == bytes(100)
