"""Fetch many URLs at once: libcurl's multi interface on the gevent loop, output made for pipes."""
