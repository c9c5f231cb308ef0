"""Benchmarks side by side with peers: `python -m tests.bench NAME`. Not part of the test run."""
