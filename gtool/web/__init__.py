"""What every web-facing tool shares: HTTP by pywsgi, who may come in, WebSocket, server-sent events."""
