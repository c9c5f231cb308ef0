"""What loads a chat server."""
