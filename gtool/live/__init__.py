"""Between a log and those who read it: encoded once for all, delivered at the pace of each."""
