"""Datasets for PyTorch: rows as tensors, by number or as they come, shuffled, and resumed where they were."""
