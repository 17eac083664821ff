"""Datasets pinned by a file, ``cas.lock``: names to url, version and tree."""
