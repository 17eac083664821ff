"""Merkle trees over the chunks of one stream."""
