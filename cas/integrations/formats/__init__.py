"""Datasets in formats of others, brought into versions and written from them; a module a format."""
