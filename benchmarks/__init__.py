"""Measurements that stand behind docs/results: each script is run as `python -m benchmarks.<folder>.<name>`."""
