"""Chat rooms that lose nothing: the server, and its clients for the shell."""
