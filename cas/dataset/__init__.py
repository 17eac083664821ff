"""What users hold: datasets, columns, metadata, history and tags."""
