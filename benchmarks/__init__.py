"""Measurements of the server on this machine: figures, never pass or fail. `python -m benchmarks --help`."""
