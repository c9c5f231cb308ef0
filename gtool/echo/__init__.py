"""echo-server: the small services of RFC 862 to 868, and a test target with faults."""
