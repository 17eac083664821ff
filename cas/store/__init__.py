"""Blobs and small tables by key, bytes only: the contract, and the stores that keep it."""
