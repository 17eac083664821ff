"""Checkpoints: state dicts as datasets whose rows are tensors."""
