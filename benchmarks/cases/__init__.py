"""One file for each benchmark; `benchmarks/registry.py` lists them."""
