"""A log in a SQLite file: what is in it has been written to the disk, and stays for as long as it is wanted."""
