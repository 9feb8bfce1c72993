"""The doors: bytes in, an answer out."""
