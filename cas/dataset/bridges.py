"""Methods of datasets that belong to other libraries: each is a door to a module of ``cas.integrations``.

Imports point down everywhere else. Users look for these verbs on the dataset, though, so this module knows what stands
above it, and imports it when a method is called (``tests/test_layers.py`` allows no other module that).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cas.integrations.near.groups import NearDuplicates
    from cas.repo.duplicates import Duplicates


class Notebook:
    """What shows as a table in a notebook."""

    __slots__ = ()

    def _repr_html_(self) -> str | None:
        """Returns HTML for a notebook, or None where it cannot be made: then it shows as text."""
        from cas.integrations.notebook import to_html

        return to_html(self)


class Bridges(Notebook):
    """What a dataset gives to other libraries."""

    def duplicates(self, column: str) -> Duplicates:
        """Finds the identical rows of a column by their hashes alone: nothing is decoded, and no row is read.

        The result is a sequence of groups, those that waste most first; each has ``rows`` (int64, ascending) and
        ``size_bytes``. ``wasted_bytes`` is what all but the first row of each group take together in a folder (the
        store keeps them once), and ``repeats()`` are these rows: what to delete to keep one of each. Missing values
        are no duplicates. Rows must be chunks by themselves: images, rows of 4,096 bytes or more, or columns of a type
        made with ``dedup="row"``; others raise :class:`~cas.errors.InvalidInputError`. Rows are those of
        :attr:`version`: with staged changes it raises ``UncommittedChangesError``. Cost: the nodes of the column and
        a sort, about a second and 200 MB for a million rows.

        >>> import cas, tempfile
        >>> ds = cas.create(tempfile.mkdtemp() + "/ds", schema={"file": cas.types.Bytes(dedup="row")})
        >>> ds.append({"file": [b"cat", b"dog", b"cat", b"cat"]})
        >>> version = ds.commit()
        >>> found = ds.duplicates("file")
        >>> found[0].rows.tolist(), found.wasted_bytes, found.repeats().tolist()
        ([0, 2, 3], 6, [2, 3])
        >>> ds.delete(found.repeats())
        >>> version = ds.commit("one of each")
        """
        from cas.integrations.near.entry import exact_duplicates

        return exact_duplicates(self, column)

    def near_duplicates(self, column: str, threshold: int = 8, colour: int = 32) -> NearDuplicates:
        """Finds rows whose images look alike: smaller, recompressed, slightly cropped or marked copies.

        Two images are close where their perceptual hashes of 64 bits (those of ``imagehash.phash``) differ in at most
        ``threshold`` bits, 0 to 64, and their mean red, green and blue in at most ``colour``, 0 to 255; 255 compares
        no colours. Flat images, of one colour throughout, are close to such only, whose colours differ in at most 4.

        The result is a sequence of groups, those that waste most first. The first of ``group.rows`` is the best, of
        most pixels, then of most bytes, then the first; each other row is close to this one, with its bits in
        ``group.distances``, so no chain of small steps joins what is unlike, and what stays always stands for what
        goes. ``repeats()`` are all rows but the first of each group: what to delete. Rows whose image cannot be
        decoded are in no group, and listed in ``unreadable``.

        Each image is decoded once, equal ones together, in threads; what is found is kept in the store by the image's
        hash, 32 bytes each, for all versions and datasets, so that the next version costs its new images (a store that
        is open for reading only keeps nothing). Then the search is exact, and takes seconds for 100,000 images. Rows
        are those of :attr:`version`: with staged changes it raises ``UncommittedChangesError``. Needs Pillow:
        ``pip install 'tensor-cas[near]'``.
        """
        from cas.integrations.near.entry import near_duplicates

        return near_duplicates(self, column, threshold, colour)
