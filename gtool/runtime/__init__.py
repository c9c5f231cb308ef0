"""The gevent runtime helper: the one place that owns the loop, signals, and the standard streams."""
