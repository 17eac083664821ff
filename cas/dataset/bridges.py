"""Methods of datasets that belong to other libraries: each is a door to a module of ``cas.integrations``.

Imports point down everywhere else. Users look for these verbs on the dataset, though, so this module knows what stands
above it, and imports it when a method is called (``tests/test_layers.py`` allows no other module that).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from cas.dataset.readable import Readable


class Bridges:
    """What a dataset gives to other libraries."""

    def export(
        self,
        target: str | os.PathLike[str],
        format: str | None = None,  # noqa: A002
        *,
        columns: Sequence[str] | None = None,
        image: str | None = None,
        shard_bytes: int | None = None,
        force: bool = False,
    ) -> int:
        """Writes the rows in another format and returns their number; images keep their bytes.

        ``format`` is ``imagefolder``, ``webdataset``, ``parquet``, ``jsonl`` or ``csv``; without it, the suffix of
        ``target`` says it. ``columns`` are those to write, by default all. ``image`` is the column of images for
        ``imagefolder`` where there are several; ``shard_bytes`` the size from which on a shard of ``webdataset`` is
        full, by default 512 MiB.

        The target takes its name when all of it is on disk. What is there already raises
        :class:`~cas.errors.ExistsError`; ``force`` replaces a file, and a folder that an export made. A column that the
        format cannot hold raises :class:`~cas.errors.UnsupportedError`, before anything is written. Metadata and other
        versions stay behind. Memory: some batches of 8 MiB, of parquet of 32 MiB.

        >>> import cas, pathlib, tempfile
        >>> folder = tempfile.mkdtemp()
        >>> ds = cas.create(f"{folder}/ds", schema={"name": "text", "size": "int64"})
        >>> ds.append([{"name": "a", "size": 1}, {"name": "b", "size": 2}])
        >>> ds.export(f"{folder}/table.csv")
        2
        >>> pathlib.Path(folder, "table.csv").read_text()
        'name,size\\na,1\\nb,2\\n'
        >>> ds.rollback()
        """
        from cas.integrations.formats.exporting import export

        return export(
            cast("Readable", self),
            target,
            format,
            columns=columns,
            image=image,
            shard_bytes=shard_bytes,
            force=force,
        )
