"""A library's modules wait on the loop; all others stay as they are."""

from __future__ import annotations

import socket
import ssl
from types import ModuleType

import gevent.socket
import gevent.ssl
import pytest

from gtool.runtime.patch import patch
from tests.runtime.scripts import output_of


@pytest.fixture
def module() -> ModuleType:
    """As a library's that has both."""
    made = ModuleType("library")
    made.socket, made.ssl = socket, ssl
    return made


def test_socket_and_ssl_become_those_of_the_loop(module):
    patch(module)
    assert (module.socket, module.ssl) == (gevent.socket, gevent.ssl)


def test_the_standard_modules_stay_as_they_are(module):
    before = socket.socket, socket.create_connection, ssl.SSLContext
    patch(module)
    assert (socket.socket, socket.create_connection, ssl.SSLContext) == before


def test_what_a_module_does_not_have_is_not_given_to_it():
    module = ModuleType("library")
    patch(module)
    assert not hasattr(module, "socket")


def test_what_only_has_the_name_is_left_alone(module):
    module.socket, module.ssl = socket.socket, None
    patch(module)
    assert (module.socket, module.ssl) == (socket.socket, None)


def test_patching_twice_is_patching_once(module):
    patch(module)
    patch(module)
    assert module.socket is gevent.socket


def test_several_modules_are_patched_at_once(module):
    other = ModuleType("other")
    other.socket = socket
    patch(module, other)
    assert (module.socket, other.socket) == (gevent.socket, gevent.socket)


def test_nothing_else_of_the_process_is_patched():
    script = """
import redis.connection
from gtool.runtime.patch import patch
patch(redis.connection)
from gevent import monkey
import socket, threading, time
print(redis.connection.socket.__name__, socket.socket.__module__, monkey.is_module_patched("threading"))
"""
    assert output_of(script) == ["gevent.socket socket False"]


def test_others_work_while_a_patched_library_waits():
    script = """
import socket
from contextlib import suppress
from types import ModuleType
import gevent
from gtool.runtime.patch import patch
library = ModuleType("library")
library.socket = socket
patch(library)
with socket.create_server(("127.0.0.1", 0)) as server:
    def wait():
        with library.socket.create_connection(server.getsockname()) as connection:
            print(connection.recv(1).decode())
    waiting = gevent.spawn(wait)
    server.setblocking(False)
    accepted = None
    while not accepted:
        gevent.sleep(0.001)
        with suppress(BlockingIOError):
            accepted, _ = server.accept()
    gevent.sleep(0.001)  # it waits for what we send
    print("meanwhile")
    accepted.send(b"x")
    accepted.close()
    waiting.get()
"""
    assert output_of(script) == ["meanwhile", "x"]
