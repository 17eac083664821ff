"""Folders of image files: brought in as versions, and written out again."""
