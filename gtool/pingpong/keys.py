"""CURVE keys in files, and who of the clients is let in. Source: RFC 26 (CurveZMQ) and RFC 27 (ZAP) of ZeroMQ."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import zmq
import zmq.auth

from gtool.errors import ReadError, UsageError, WriteError
from gtool.log import EventLog
from gtool.pingpong.job import ClientKeys

log = EventLog("pingpong")

BARE = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")  # Z85, RFC 32 of ZeroMQ
GENERATE = "gtool zmq-pingpong serve --curve-generate DIR makes some"
OTHERS = stat.S_IRWXG | stat.S_IRWXO


class ServerKeys(NamedTuple):
    """In Z85. `clients` are the public keys of those who are let in; None lets in everybody who has the server's."""

    secret: str
    clients: frozenset[str] | None


def read_public(path: str) -> str:
    """Read a public key: a certificate as zmq.auth writes it, or the bare 40 characters. ReadError if there is none."""
    return _read(path, "public")


def read_secret(path: str) -> str:
    """Read a secret key, in the same forms. It warns of a file that others may read."""
    key = _read(path, "secret")
    if os.stat(path).st_mode & OTHERS:
        log.warning("others may read this secret key", path=path, hint=f"chmod 600 {path}")
    return key


def client_keys(server_key: str | None, public: str | None, secret: str | None) -> ClientKeys | None:
    """Make a client's keys from the paths of key files. Without a secret key it has one for this run only."""
    if server_key is None:
        if public or secret:
            given = "--curve-secret" if secret else "--curve-public"
            raise UsageError(f"{given} needs --curve-server-key, the server's public key")
        return None
    if secret is None:
        if public:
            raise UsageError("--curve-public needs --curve-secret, the other half of it")
        new_public, new_secret = zmq.curve_keypair()
        return ClientKeys(read_public(server_key), new_public.decode(), new_secret.decode())
    own = read_secret(secret)
    return ClientKeys(read_public(server_key), _public_of(own, secret, public), own)


def server_keys(public: str | None, secret: str | None, clients: Iterable[str]) -> ServerKeys | None:
    """Make a server's keys from the paths of key files; `clients` are files, or directories of `*.key`."""
    paths = list(clients)
    if secret is None:
        if public or paths:
            raise UsageError("--curve-client and --curve-public need --curve-secret, the server's secret key")
        return None
    key = read_secret(secret)
    _public_of(key, secret, public)
    if not paths:
        return ServerKeys(key, None)
    return ServerKeys(key, frozenset(read_public(file) for path in paths for file in _key_files(path)))


def generate(directory: str) -> list[str]:
    """Write key pairs for a server and a client; give the paths. WriteError for a file that is there already."""
    texts: dict[str, str] = {}
    for name in ("server", "client"):
        public, secret = zmq.curve_keypair()
        path = os.path.join(directory, f"{name}.key")
        texts[path] = f'curve\n    public-key = "{public.decode()}"\n'
        texts[f"{path}_secret"] = f'{texts[path]}    secret-key = "{secret.decode()}"\n'
    try:
        os.makedirs(directory, exist_ok=True)
        for path in texts:
            if os.path.lexists(path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        for path, text in texts.items():
            mode = 0o600 if path.endswith("_secret") else 0o644
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
                file.write(text)
    except OSError as error:
        raise WriteError(f"cannot write {error.filename or directory}: {error.strerror}") from error
    return list(texts)


@contextmanager
def admission(context: zmq.Context[Any], keys: ServerKeys | None) -> Iterator[Callable[[Any], None]]:
    """Let in who has the keys; give the function that makes a socket a server's, before it is bound."""
    if keys is None:
        yield lambda sock: None
        return
    secret = keys.secret.encode()
    public = zmq.curve_public(secret)

    def secure(sock: Any) -> None:
        sock.curve_server = True
        sock.curve_secretkey, sock.curve_publickey = secret, public

    if keys.clients is None:
        yield secure
        return
    from zmq.auth.thread import ThreadAuthenticator  # it brings asyncio

    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.configure_curve_callback("*", _AllowList(keys.clients))
    try:
        yield secure
    finally:
        authenticator.stop()


class _AllowList:
    """A credentials provider of zmq.auth."""

    def __init__(self, keys: frozenset[str]) -> None:
        self._keys = keys

    def callback(self, _domain: str, key: bytes) -> bool:
        is_known = key.decode() in self._keys
        if not is_known:
            log.notice("client refused", key=key.decode(), hint="--curve-client lets it in")
        return is_known


def _key_files(path: str) -> list[str]:
    if not os.path.isdir(path):
        return [path]
    files = sorted(map(str, Path(path).glob("*.key")))
    if not files:
        raise ReadError(f"there is no *.key in {path}", "it would let nobody in")
    return files


def _read(path: str, kind: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            text = file.read(1 << 16)
    except OSError as error:
        raise ReadError(f"cannot read the key file {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ReadError(f"there is no {kind} key in {path}", GENERATE) from error
    named = re.search(rf'^\s*{kind}-key\s*=\s*"?({BARE.pattern})"?\s*$', text, re.MULTILINE)
    if named:
        return named[1]
    if BARE.fullmatch(text.strip()):
        return text.strip()
    raise ReadError(f"there is no {kind} key in {path}", GENERATE)


def _public_of(secret: str, path: str, public_path: str | None) -> str:
    """Give the public half of a secret key. UsageError if the public key's file says another one."""
    try:
        public: str = zmq.curve_public(secret.encode()).decode()
    except zmq.ZMQError as error:
        raise ReadError(f"the secret key in {path} is none: {error.strerror}") from error
    if public_path is not None and read_public(public_path) != public:
        raise UsageError(f"--curve-public {public_path} and --curve-secret {path} are not of one pair")
    return public
