"""One store opened as a repository: datasets, refs, commits, metadata, statistics."""
