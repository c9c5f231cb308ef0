"""CURVE keys: read from files, written so that nobody else reads them, and who is let in with them."""

from __future__ import annotations

import logging
import os
import re
import stat

import pytest
import zmq
import zmq.auth
from zmq.utils.monitor import recv_monitor_message

from gtool.errors import ReadError, UsageError, WriteError
from gtool.log import ROOT, configure
from gtool.pingpong.endpoints import closing
from gtool.pingpong.job import ClientKeys
from gtool.pingpong.keys import ServerKeys, admission, client_keys, generate, read_public, read_secret, server_keys

SOON_MS = 5000
PUBLIC, SECRET = "r1Bt=uk:CQ-pKUAvF-Xu{Enx3TZVLpuRFB-?:8=b", "pZnv/Epw!1L3+Od!4lhck3By%:z]TAO$j=BDh+qL"
OTHER_PUBLIC, OTHER_SECRET = ")GP84xhWerxVOK.w%7Z]fB=S7WX>!eg5u(sv)q>K", "J%yd*XqMgNj.0Q7}Q]P6ORY^J01rS#lyu+m=QnO*"
EXAMPLE = "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"  #: of zmq_curve(7)


@pytest.fixture(autouse=True)
def logging_as_it_was():
    logger = logging.getLogger(ROOT)
    before = logger.handlers[:], logger.level, logger.propagate
    configure("text", "notice")
    yield
    logger.handlers[:], logger.level, logger.propagate = before


@pytest.fixture
def file(tmp_path):
    """Write a file that only its owner may read; give its path."""

    def write(text: str | bytes, name: str = "key", mode: int = 0o600) -> str:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        path.chmod(mode)
        return str(path)

    return write


@pytest.fixture
def pair(tmp_path):
    """The paths of a server's and a client's keys, as --curve-generate writes them."""
    directory = str(tmp_path / "keys")
    generate(directory)
    return lambda name: os.path.join(directory, name)


# Reading


def test_certificates_of_zmq_auth_are_read(tmp_path):
    public, secret = zmq.auth.create_certificates(tmp_path, "meter", {"public-key-of": "nobody"})
    expected = [key.decode() for key in zmq.auth.load_certificate(secret)]
    assert [read_public(public), read_secret(secret)] == expected


@pytest.mark.parametrize("text", [PUBLIC, f"{PUBLIC}\n", f"  {PUBLIC}\r\n\n", EXAMPLE])
def test_a_bare_key_is_read(file, text):
    assert read_public(file(text)) == text.strip()


@pytest.mark.parametrize(
    "text",
    [f'curve\n    public-key = "{PUBLIC}"\n', f"public-key={PUBLIC}", f'# made\ncurve\n\tpublic-key="{PUBLIC}" \r\n'],
)
def test_a_key_is_read_by_its_name(file, text):
    assert read_public(file(text)) == PUBLIC


def test_each_half_of_a_certificate_is_read_by_its_name(file):
    path = file(f'curve\n    public-key = "{PUBLIC}"\n    secret-key = "{SECRET}"\n')
    assert [read_public(path), read_secret(path)] == [PUBLIC, SECRET]


@pytest.mark.parametrize(
    "text",
    ["", "rubbish", PUBLIC[:39], PUBLIC + "0", PUBLIC[:39] + "~", f'secret-key = "{SECRET}"', "ключ", b"\xff" * 40],
)
def test_a_file_without_a_key_is_named(file, text):
    path = file(text)
    with pytest.raises(ReadError, match=f"^there is no public key in {re.escape(path)}"):
        read_public(path)


def test_a_public_certificate_has_no_secret_key(pair):
    with pytest.raises(ReadError, match=r"no secret key in .*server\.key .*--curve-generate"):
        read_secret(pair("server.key"))


@pytest.mark.parametrize("read", [read_public, read_secret])
@pytest.mark.parametrize(("name", "reason"), [("none", "No such file or directory"), (".", "Is a directory")])
def test_a_file_that_can_not_be_read_is_named(tmp_path, read, name, reason):
    path = os.path.join(tmp_path, name)
    with pytest.raises(ReadError, match=f"^cannot read the key file {re.escape(path)}: {reason}$"):
        read(path)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644])
def test_a_secret_that_others_may_read_is_warned_of(file, capsys, mode):
    path = file(SECRET, mode=mode)
    read_secret(path)
    assert f"WARNING others may read this secret key path={path}" in capsys.readouterr().err


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_secret_that_nobody_else_reads_is_not_warned_of(file, capsys, mode):
    read_secret(file(SECRET, mode=mode))
    assert capsys.readouterr().err == ""


def test_a_secret_is_in_no_warning(file, capsys):
    read_secret(file(SECRET, mode=0o644))
    assert SECRET not in capsys.readouterr().err


# Writing


def test_a_pair_each_for_a_server_and_a_client_is_written(tmp_path):
    names = ["server.key", "server.key_secret", "client.key", "client.key_secret"]
    directory = tmp_path / "new" / "keys"
    assert generate(str(directory)) == [str(directory / name) for name in names]
    assert sorted(os.listdir(directory)) == sorted(names)


@pytest.mark.parametrize("name", ["server", "client"])
def test_what_is_written_is_a_pair(pair, name):
    secret = read_secret(pair(f"{name}.key_secret"))
    publics = {read_public(pair(f"{name}.key")), read_public(pair(f"{name}.key_secret"))}
    assert publics == {zmq.curve_public(secret.encode()).decode()}


@pytest.mark.parametrize("name", ["server", "client"])
def test_what_is_written_is_a_certificate_of_zmq_auth(pair, name):
    public, secret = zmq.auth.load_certificate(pair(f"{name}.key_secret"))
    assert (public.decode(), secret.decode()) == (
        read_public(pair(f"{name}.key")),
        read_secret(pair(f"{name}.key_secret")),
    )


def test_no_two_pairs_are_the_same(pair):
    assert read_secret(pair("server.key_secret")) != read_secret(pair("client.key_secret"))


@pytest.mark.parametrize("name", ["server.key_secret", "client.key_secret"])
def test_only_the_owner_reads_a_secret(pair, name):
    assert stat.S_IMODE(os.stat(pair(name)).st_mode) == 0o600


def test_no_secret_is_in_a_public_file(pair):
    with open(pair("server.key"), encoding="ascii") as public:
        assert read_secret(pair("server.key_secret")) not in public.read()


def test_keys_that_are_there_already_are_left_alone(pair, tmp_path):
    before = read_secret(pair("server.key_secret"))
    with pytest.raises(WriteError, match=r"^cannot write .*/server\.key: File exists$"):
        generate(str(tmp_path / "keys"))
    assert read_secret(pair("server.key_secret")) == before


def test_a_directory_that_is_a_file_is_named(file):
    path = file("mine", name="file")
    with pytest.raises(WriteError, match=f"^cannot write {re.escape(path)}: File exists$"):
        generate(path)


def test_where_some_keys_are_there_already_none_are_written(tmp_path):
    (tmp_path / "client.key").write_text("mine")
    with pytest.raises(WriteError):
        generate(str(tmp_path))
    assert os.listdir(tmp_path) == ["client.key"]


# Pairs


def test_without_keys_there_are_none():
    assert (client_keys(None, None, None), server_keys(None, None, [])) == (None, None)


def test_a_client_has_the_servers_key_and_its_own_pair(pair):
    keys = client_keys(pair("server.key"), pair("client.key"), pair("client.key_secret"))
    assert keys == ClientKeys(
        *map(read_public, map(pair, ("server.key", "client.key"))), read_secret(pair("client.key_secret"))
    )


def test_the_public_key_of_a_client_follows_from_the_secret_one(file):
    keys = client_keys(file(OTHER_PUBLIC, "server"), None, file(SECRET))
    assert keys == ClientKeys(OTHER_PUBLIC, PUBLIC, SECRET)


def test_a_client_without_a_secret_has_a_pair_for_this_run_only(file):
    first, second = (client_keys(file(OTHER_PUBLIC), None, None) for _ in range(2))
    assert first.public == zmq.curve_public(first.secret.encode()).decode()
    assert first.public != second.public


def test_a_server_lets_in_everybody_where_no_client_is_named(file):
    assert server_keys(None, file(SECRET), []) == ServerKeys(SECRET, None)


def test_a_server_lets_in_the_clients_of_files_and_directories(file, tmp_path, pair):
    file(OTHER_SECRET, "not-a-public-one.key_secret")
    keys = server_keys(None, file(SECRET), [file(OTHER_PUBLIC, "other"), str(tmp_path / "keys")])
    assert keys.clients == {OTHER_PUBLIC, read_public(pair("client.key")), read_public(pair("server.key"))}


def test_a_directory_without_keys_would_let_nobody_in(file, tmp_path):
    with pytest.raises(ReadError, match=rf"^there is no \*\.key in {re.escape(str(tmp_path))}"):
        server_keys(None, file(SECRET, "secret"), [str(tmp_path)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: client_keys(None, None, path), "--curve-secret needs --curve-server-key"),
        (lambda path: client_keys(None, path, None), "needs --curve-server-key"),
        (lambda path: client_keys(path, path, None), "--curve-public needs --curve-secret"),
        (lambda path: server_keys(None, None, [path]), "--curve-client and --curve-public need --curve-secret"),
        (lambda path: server_keys(path, None, []), "--curve-client and --curve-public need --curve-secret"),
    ],
)
def test_half_of_what_is_needed_is_a_usage_error(file, make, message):
    with pytest.raises(UsageError, match=message):
        make(file(PUBLIC))


@pytest.mark.parametrize("make", [lambda *own: client_keys(own[0], *own), lambda *own: server_keys(*own, [])])
def test_two_keys_that_are_not_of_one_pair_are_named(file, make):
    public, secret = file(OTHER_PUBLIC, "public"), file(SECRET, "secret")
    with pytest.raises(UsageError, match=f"{re.escape(public)} .*{re.escape(secret)} are not of one pair"):
        make(public, secret)


def test_a_secret_key_that_is_none_is_named(file):
    path = file("#" * 40)  # all of Z85, but more than 32 bits in five
    with pytest.raises(ReadError, match=f"^the secret key in {re.escape(path)} is none"):
        server_keys(None, path, [])


# Who is let in

REFUSED, MISMATCH = zmq.Event.HANDSHAKE_FAILED_AUTH, zmq.Event.HANDSHAKE_FAILED_PROTOCOL
MADE = zmq.Event.HANDSHAKE_SUCCEEDED


def what_comes_of(server: ServerKeys | None, client: ClientKeys | None) -> zmq.Event:
    """Connect a client; give the event that says what has come of it."""
    with closing(zmq.Context()) as context, admission(context, server) as secure:
        bound, connected = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
        secure(bound)
        bound.bind("tcp://127.0.0.1:*")
        if client is not None:
            connected.curve_serverkey = client.server.encode()
            connected.curve_publickey, connected.curve_secretkey = client.public.encode(), client.secret.encode()
        monitor = connected.get_monitor_socket(REFUSED | MISMATCH | MADE)
        connected.connect(bound.last_endpoint)
        assert monitor.poll(SOON_MS)
        event = recv_monitor_message(monitor)["event"]
        connected.disable_monitor()
    return event


CLIENT = ClientKeys(PUBLIC, OTHER_PUBLIC, OTHER_SECRET)


@pytest.mark.parametrize(
    ("server", "client", "event"),
    [
        (None, None, MADE),
        (None, CLIENT, MISMATCH),
        (ServerKeys(SECRET, None), CLIENT, MADE),
        (ServerKeys(SECRET, None), None, MISMATCH),
        (ServerKeys(SECRET, frozenset([OTHER_PUBLIC])), CLIENT, MADE),
        (ServerKeys(SECRET, frozenset([OTHER_PUBLIC, EXAMPLE])), CLIENT, MADE),
        (ServerKeys(SECRET, frozenset([PUBLIC])), CLIENT, REFUSED),
        (ServerKeys(SECRET, frozenset()), CLIENT, REFUSED),
        (ServerKeys(SECRET, frozenset([OTHER_PUBLIC])), None, MISMATCH),
    ],
)
def test_who_has_the_keys_is_let_in_and_nobody_else(server, client, event):
    assert what_comes_of(server, client) == event


def test_who_is_refused_is_logged_by_its_key(capsys):
    what_comes_of(ServerKeys(SECRET, frozenset([PUBLIC])), CLIENT)
    assert f"NOTICE  client refused key={OTHER_PUBLIC} " in capsys.readouterr().err
