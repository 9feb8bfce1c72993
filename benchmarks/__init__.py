"""Benchmarks: what Streamgauge does on this machine, beside what else can be had on it. `python -m benchmarks --help`."""
