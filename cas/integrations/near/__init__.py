"""Near duplicates among images: perceptual hashes, an exact search for those that are close, and groups of them."""
