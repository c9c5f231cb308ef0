"""ws-feed: one producer to any number of WebSocket clients. ws-tail: any feed in the shell."""
