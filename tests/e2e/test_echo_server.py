"""echo-server as its users meet it: real processes and real sockets."""

from __future__ import annotations

import os
import socket
import threading

from tests.e2e.servers import receive_all, running

LOOPBACK = "127.0.0.1:0"


def test_whatever_comes_goes_back_and_half_close_is_respected():
    message = os.urandom(1_000_000)
    with running("echo-server", "-l", LOOPBACK) as server, server.connect() as client:
        sender = threading.Thread(target=lambda: (client.sendall(message), client.shutdown(socket.SHUT_WR)))
        sender.start()
        assert receive_all(client) == message
        sender.join()
        assert server.stop().code == 0
