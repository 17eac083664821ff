"""Places that a process has seen count in the state they were seen in, and for the very blob."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from cas.hashing import Hashes, hash_chunk
from cas.store.lmdb import LmdbStore, create_files
from cas.store.places import PLACES, SeenPlaces


def random_hashes(count: int, seed: int = 0) -> Hashes:
    return np.random.default_rng(seed).integers(0, 256, (count, 32), dtype=np.uint8)


def numbered(count: int, first: int = 0) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    places = np.empty(count, PLACES)
    places["at"] = np.arange(first, first + count)
    places["length"] = np.arange(count) % 1000
    return places


def test_what_was_seen_is_found_in_its_state_only() -> None:
    seen, hashes, places = SeenPlaces(), random_hashes(1000), numbered(1000)
    assert not seen.find(hashes, 7)[1].any()
    seen.add(hashes, places, 7)
    found, known = seen.find(hashes, 7)
    assert known.sum() > 950  # some share a slot
    assert (found[known] == places[known]).all()
    assert not seen.find(hashes, 8)[1].any()
    assert not seen.find(random_hashes(1000, seed=1), 7)[1].any()


def test_hashes_that_begin_alike_are_told_apart() -> None:
    seen, hashes = SeenPlaces(), random_hashes(2)
    for word in range(4):
        hashes[1] = hashes[0]
        hashes[1, 8 * word + 7] ^= 1
        seen.add(hashes[:1], numbered(1, 5), 1)
        assert seen.find(hashes, 1)[1].tolist() == [True, False]
    both = np.repeat(hashes[:1], 2, axis=0)
    both[1, 31] ^= 1  # the same slot in one call: one of them stays, whole
    seen.add(both, numbered(2, 8), 2)
    found, known = seen.find(both, 2)
    assert known.sum() == 1
    assert found["at"][known][0] == 8 + int(np.flatnonzero(known)[0])


def test_threads_see_whole_places() -> None:
    """All hashes share a slot; each says by its bytes where its blob lies."""
    seen = SeenPlaces()
    hashes = random_hashes(64)
    hashes[:, :8] = 0
    places = numbered(64)
    wrong: list[int] = []

    def work(number: int) -> None:
        for _ in range(300):
            seen.add(hashes[number : number + 1], places[number : number + 1], 1)
            found, known = seen.find(hashes, 1)
            wrong.extend(np.flatnonzero(known & (found["at"] != places["at"])).tolist())

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def read(store: LmdbStore, hashes: Hashes) -> list[bytes]:
    with store.read() as view:
        return [bytes(run.data or b"") for run in view.runs(hashes) for _ in [run]]


def test_blobs_that_were_moved_are_read_where_they_are(tmp_path: Path) -> None:
    """The numbers of segments that went come again: what lies at the old place then is another blob."""
    store = create_files(tmp_path / "s", lambda txn: None)
    blobs = [bytes([number]) * 9_000 for number in range(40)]
    hashes = [hash_chunk(blob) for blob in blobs]
    for hash_, blob in zip(hashes, blobs, strict=True):
        store.write(lambda txn, hash_=hash_, blob=blob: txn.put_blobs([(hash_, blob)]))  # type: ignore[misc]
    wanted = np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 32)
    assert b"".join(read(store, wanted)) == b"".join(blobs)
    store.write(lambda txn: txn.remove_blobs(hashes[20:]))
    assert store.reclaim() > 0
    others = [bytes([100 + number]) * 9_000 for number in range(20)]
    store.write(lambda txn: txn.put_blobs([(hash_chunk(blob), blob) for blob in others]))
    store.write(lambda txn: txn.put_blobs(list(zip(hashes[20:], blobs[20:], strict=True))))
    assert b"".join(read(store, wanted)) == b"".join(blobs)
    assert b"".join(read(store, wanted)) == b"".join(blobs)
    store.close()
