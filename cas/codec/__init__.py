"""Bytes and values: compression at rest, records, rows. Pure: nothing here reads or writes a file."""
