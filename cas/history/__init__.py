"""Versions, refs, the graph of ancestors, and row maps."""
