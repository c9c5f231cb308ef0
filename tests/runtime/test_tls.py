"""A server's certificate and key: used where they can be, and where not, it is said what is wrong with them."""

from __future__ import annotations

import ssl

import gevent.ssl
import pytest
from cryptography.hazmat.primitives import serialization

from gtool.errors import UsageError
from gtool.runtime.tls import server_context


@pytest.fixture
def files(authority, tmp_path):
    """Write a certificate, its key, both of them, another key, that key with a password, and what is no PEM."""
    cert, other = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    key = serialization.load_pem_private_key(cert.private_key_pem.bytes(), None)
    contents = {
        "cert": cert.cert_chain_pems[0].bytes(),
        "key": cert.private_key_pem.bytes(),
        "both": cert.private_key_and_cert_chain_pem.bytes(),
        "other": other.private_key_pem.bytes(),
        "locked": key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"secret"),
        ),
        "garbage": b"\0\xff",
        "empty": b"",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return lambda name: str(tmp_path / name)


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> dict[str, object]:
    """Shake hands in memory; give the certificate that the client sees."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (ours, theirs, ours, theirs):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return ours.getpeercert()


@pytest.mark.parametrize("names", [("cert", "key"), ("both", None)])
def test_certificate_and_key_may_be_in_two_files_or_in_one(authority, files, names):
    cert, key = names
    context = server_context(files(cert), key and files(key))
    client = ssl.create_default_context()
    authority.configure_trust(client)
    assert shake_hands(context, client)["subjectAltName"] == (("DNS", "localhost"),)


def test_its_sockets_wait_on_the_loop(files):
    assert isinstance(server_context(files("both"), None), gevent.ssl.SSLContext)


@pytest.mark.parametrize(
    ("cert", "key", "missing"), [("none", None, "none"), ("cert", "none", "none"), (".", None, ".")]
)
def test_a_file_that_cannot_be_read_is_named(files, cert, key, missing):
    with pytest.raises(UsageError) as caught:
        server_context(files(cert), key and files(key))
    assert caught.value.message.startswith(f"cannot read {files(missing)}: ")


def test_a_key_of_another_certificate_is_told_from_a_bad_one(files):
    with pytest.raises(UsageError, match=r"the key does not belong to the certificate: .*cert and .*other"):
        server_context(files("cert"), files("other"))


def test_a_certificate_alone_wants_its_key(files):
    with pytest.raises(UsageError) as caught:
        server_context(files("cert"), None)
    assert caught.value.message.startswith(f"cannot use the certificate in {files('cert')}: ")
    assert "--tls-key" in caught.value.hint


@pytest.mark.parametrize(
    ("cert", "key"), [("garbage", None), ("empty", None), ("key", "cert"), ("cert", "garbage"), ("cert", "locked")]
)
def test_what_cannot_be_used_is_a_usage_error(files, cert, key):
    with pytest.raises(UsageError, match=r"cannot use the certificate in .*: [a-z]"):
        server_context(files(cert), key and files(key))
