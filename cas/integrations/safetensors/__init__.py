"""Files of safetensors, single or in shards, as checkpoints, and back to the same bytes.

The format is small, so it is read and written here: a `u64` with the length of a header, the header in JSON, and the
tensors without gaps (https://github.com/huggingface/safetensors#format). The package ``safetensors`` is not needed.
"""
