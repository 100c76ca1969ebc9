"""Measurements against other libraries; run with ``python -m benchmarks``."""
