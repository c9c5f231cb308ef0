"""hello-server: speaks first, counts, and closes."""
