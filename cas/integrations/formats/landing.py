"""From a source to the dataset at a url, which is made where there is none."""

from __future__ import annotations

import os
from typing import Any

from cas.dataset import opening
from cas.integrations.folder.importing import ImportResult
from cas.integrations.formats.importing import import_source
from cas.integrations.formats.source import Source


def import_into(url: str | os.PathLike[str], source: Source, **options: Any) -> ImportResult:
    """Imports a source as :func:`~cas.integrations.formats.importing.import_source` does, by a url.

    A dataset that was made for it is taken away again if it fails.
    """
    made = not opening.exists(url)
    dataset = opening.create(url) if made else opening.open(url)
    try:
        with dataset:
            return import_source(source, dataset, **options)
    except BaseException:
        if made:
            opening.delete(url)
        raise
