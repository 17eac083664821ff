"""Arrow tables, and what speaks Arrow: datasets to them and back, without loss. Needs pyarrow."""
