"""A server's TLS: its context from a certificate and a key, with errors that say what is wrong with them."""

from __future__ import annotations

import ssl

from gtool.errors import UsageError


def server_context(cert: str, key: str | None) -> ssl.SSLContext:
    """Load a certificate chain and its key, PEM, which may be in one file. UsageError if that can't be done."""
    from gevent.ssl import SSLContext  # whose sockets wait on the loop

    context: ssl.SSLContext = SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for path in (cert, *([key] if key else [])):
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}") from error
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as error:
        which = f"{cert} and {key}" if key else cert
        if error.reason == "KEY_VALUES_MISMATCH":
            raise UsageError(f"the key does not belong to the certificate: {which}") from error
        hint = "both are wanted, as PEM" if key else "the key is wanted too: in this file, or by --tls-key"
        raise UsageError(f"cannot use the certificate in {which}: {_reason(error)}", hint) from error
    return context


def _no_password() -> str:
    """Stand in for a password: nobody may be there to type one."""
    return ""


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or "no PEM in it").replace("_", " ").lower()
