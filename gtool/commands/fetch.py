"""`gtool fetch`: its options, and how they become settings."""

from __future__ import annotations

import os
from typing import Any

import click
from click.core import ParameterSource

from gtool.commands.complete import files
from gtool.commands.options import Command, option, under
from gtool.commands.terminal import shows_progress
from gtool.commands.types import DURATION, RATE, SIZE
from gtool.errors import ReadError, UsageError

EXISTING_FILE = click.Path(exists=True, dir_okay=False, readable=True)

EXIT_STATUS = (
    "0, or curl's code of the first failing input in input order: 1 protocol, 3 malformed URL, 6 host name, 7 "
    "connect, 8 checksum, 18 partial body, 22 HTTP status >= 400, 23 write, 26 read, 28 time-out, 35 TLS, 47 "
    "redirects, 56 receive, 60 certificate, 61 encoding, 63 size; 2 usage, 130 interrupted, 141 stdout "
    "closed."
)
EXAMPLES = (
    "gtool fetch https://example.com/ https://example.org/ > pages.html",
    "gtool fetch --json --no-body -i urls.txt | jq -r 'select(.ok | not) | .url'",
    "gtool fetch -i urls.txt -o 'mirror/{host}/{path}' --retry 3 --journal done.ndjson",
)


@click.command(cls=Command, exit_status=EXIT_STATUS, examples=EXAMPLES)
@click.argument("urls", nargs=-1, metavar="[URL]...")
@under(
    "Input",
    option("-i", "--input", "inputs", multiple=True, metavar="FILE", shell_complete=files,
           help="Read requests from FILE, '-' is stdin: a URL or a JSON object a line. Repeatable."),
    option("-0", "--null", "is_null", is_flag=True, help="Requests in FILE end in NUL, not newline."),
    option("--journal", type=click.Path(dir_okay=False), metavar="FILE",
           help="Note in FILE what is done; skip what an earlier run has noted."),
)  # fmt: skip
@under(
    "Request (names as curl has them)",
    option("-X", "--request", metavar="METHOD", help="Method, instead of GET or POST."),
    option("-H", "--header", multiple=True, metavar="LINE", help="Send this header. Repeatable."),
    option("-d", "--data", multiple=True, metavar="DATA",
           help="POST this, or @FILE. Repeatable, joined by '&'."),
    option("--json-data", metavar="JSON", help="POST this JSON, or @FILE, with its headers."),
    option("-u", "--user", metavar="USER:PASSWORD", help="Credentials for every server."),
    option("--netrc", is_flag=True, help="Take credentials from ~/.netrc."),
    option("-A", "--user-agent", metavar="NAME", help="User-Agent to send."),
    option("-b", "--cookie", metavar="DATA|FILE", shell_complete=files,
           help="Send cookies: 'a=b; c=d', or a file of them."),
    option("--cookie-jar", type=click.Path(dir_okay=False, writable=True), metavar="FILE",
           help="Keep cookies, and write them to FILE at the end."),
    option("-L/--no-location", "--location/", "location", default=True, help="Follow redirects. [default: yes]"),
    option("--max-redirs", type=click.IntRange(0), default=10, metavar="N", help="Redirects to follow at most."),
    option("--compressed/--no-compressed", default=True, help="Ask for compressed answers. [default: yes]"),
)  # fmt: skip
@under(
    "Network",
    option("-x", "--proxy", metavar="URL", help="Go through this proxy."),
    option("--cacert", type=EXISTING_FILE, metavar="FILE",
           envvar=["GTOOL_FETCH_CACERT", "CURL_CA_BUNDLE", "SSL_CERT_FILE"],
           help="Trust these certificates. [default: certifi's]"),
    option("--cert", type=EXISTING_FILE, metavar="FILE", help="Client certificate, PEM."),
    option("--key", type=EXISTING_FILE, metavar="FILE", help="Its private key, PEM."),
    option("-k", "--insecure", is_flag=True, help="Do not check certificates."),
    option("--resolve", multiple=True, metavar="HOST:PORT:ADDRESS", help="Use this address for a host. Repeatable."),
    option("--connect-to", multiple=True, metavar="HOST:PORT:HOST:PORT", help="Connect there instead. Repeatable."),
    option("--unix-socket", type=click.Path(), metavar="PATH", help="Connect through this Unix socket."),
    option("--interface", metavar="NAME", help="Send from this interface or address."),
    option("-4", "--ipv4", "ip_version", flag_value="4", default=None, help="IPv4 only."),
    option("-6", "--ipv6", "ip_version", flag_value="6", help="IPv6 only."),
    option("--http1.1", "http_version", flag_value="1.1", default=None, help="HTTP/1.1 only."),
    option("--http2", "http_version", flag_value="2", help="HTTP/2 where the server has it."),
    option("--http3", "http_version", flag_value="3", help="HTTP/3 where the server has it."),
    option("--deny-private", is_flag=True,
           help="Refuse loopback, private and link-local addresses, after resolution, on redirects too."),
)  # fmt: skip
@under(
    "Concurrency and time",
    option("-c", "--concurrency", type=click.IntRange(1, 10_000), default=20, metavar="N", help="Transfers at once."),
    option("--concurrency-per-host", type=click.IntRange(1), metavar="N", help="Transfers at once to one host."),
    option("--rate", type=RATE, metavar="RATE", help="Start at most so many, as 50/s or 100/m."),
    option("--rate-per-host", type=RATE, metavar="RATE", help="The same for each host."),
    option("--lookahead", type=click.IntRange(1), default=1000, metavar="N",
           help="Inputs read ahead of one that has to wait."),
    option("--retry", type=click.IntRange(0), default=0, metavar="N",
           help="Try again on connection errors, time-outs, 408, 429 and 5xx."),
    option("--retry-all-errors", is_flag=True, help="Try again on every error."),
    option("--retry-max-time", type=DURATION, default="10m", metavar="TIME",
           help="Start no further attempt at an input after TIME."),
    option("--connect-timeout", type=DURATION, default="10s", metavar="TIME", help="For a connection to stand."),
    option("--stall-timeout", type=DURATION, default="30s", metavar="TIME", help="Without a byte; 0 is never."),
    option("-m", "--max-time", type=DURATION, metavar="TIME", help="For one input, with redirects and retries."),
    option("--deadline", type=DURATION, metavar="TIME", help="For the whole run; the rest is reported as timed out."),
    option("--fail-early", is_flag=True, help="Stop at the first failure; what has not ended has no record."),
)  # fmt: skip
@under(
    "Output",
    option("--json", is_flag=True, help="A JSON record per input, in completion order."),
    option("-w", "--write-out", metavar="FORMAT", help="A line per input, as '%{http_code} %{time_total} %{url}'."),
    option("--ordered", is_flag=True, help="Records and lines in input order."),
    option("-o", "--output", metavar="TEMPLATE",
           help="Bodies to files: {seq} {host} {path} {name} {ext} {id} {sha256}."),
    option("--no-clobber", is_flag=True, help="Leave files alone that are there, and fetch nothing for them."),
    option("--resume", is_flag=True, help="Keep partial files, and go on with those of an earlier run."),
    option("--no-body", is_flag=True, help="Leave bodies out of records."),
    option("--max-body", type=SIZE, default="1M", metavar="SIZE", help="Of a body inside a record."),
    option("--max-size", type=SIZE, metavar="SIZE", help="Fail bodies that are larger, decoded."),
    option("--include-headers", is_flag=True, help="Put the answer's headers into records."),
    option("--sha256", is_flag=True, help="Put the body's SHA-256 into records."),
    option("--fail/--no-fail", default=True, help="Take HTTP status >= 400 for a failure. [default: yes]"),
    option("--summary", is_flag=True, help="Print counts and percentiles on stderr at the end."),
)  # fmt: skip
@click.pass_context
def fetch(ctx: click.Context, /, **options: Any) -> int:
    """Fetch many URLs at once; output made for pipes.

    Without an output option, stdout is the bodies, byte for byte and in input order; bodies of failed
    answers are left out. Records (--json) come one per input, failed ones too.
    """
    from gtool.fetch.retry_policy import RetryPolicy
    from gtool.fetch.run import run
    from gtool.fetch.schedule import Limits
    from gtool.fetch.settings import Network, Output, Settings

    if options["output"] == "-":
        options["output"] = None  # as curl has it: stdout
    if ctx.get_parameter_source("lookahead") is ParameterSource.DEFAULT:
        options["lookahead"] = max(options["lookahead"], options["concurrency"])  # or it would be a hidden limit
    _check(options)
    network = Network(**_fields(Network, {**options, "data": _data(options)}))
    output = Output(**_fields(Output, options))
    is_json_log = ctx.find_root().params.get("log_format") == "json"
    settings = Settings(
        network=_completed(network, output, options),
        output=output,
        limits=Limits(**_fields(Limits, options)),
        retries=RetryPolicy(**_fields(RetryPolicy, options)),
        urls=options["urls"],
        inputs=options["inputs"],
        separator=b"\0" if options["is_null"] else b"\n",
        fail_early=options["fail_early"],
        deadline=options["deadline"],
        journal=options["journal"],
        summary=("json" if is_json_log else "table") if options["summary"] else None,
        progress=shows_progress(
            is_stdout_quiet=output.output is not None and not output.json and output.write_out is None
        ),
    )
    return run(settings)


def _fields(settings: type, options: dict[str, Any]) -> dict[str, Any]:
    """Those of the options that are fields of that named tuple."""
    return {name: options[name] for name in settings._fields}  # type: ignore[attr-defined]


def _check(options: dict[str, Any]) -> None:
    """Raise UsageError for options that contradict each other, or leave nothing to do."""
    if not options["urls"] and not options["inputs"]:
        raise UsageError("nothing to fetch: give URLs, or -i FILE", "try 'gtool fetch --help'")
    if options["json"] and options["write_out"] is not None:
        raise UsageError("--json and --write-out both want stdout: choose one")
    if options["data"] and options["json_data"] is not None:
        raise UsageError("--data and --json-data are two bodies: choose one")
    if options["resume"] and options["output"] is None:
        raise UsageError("--resume goes on with files: it needs --output")
    if options["deny_private"] and (options["proxy"] or options["unix_socket"]):
        raise UsageError("--deny-private cannot see the addresses behind a proxy or a Unix socket")
    readers = [*options["inputs"], *(data[1:] for data in options["data"] if data.startswith("@"))]
    if readers.count("-") > 1:
        raise UsageError("stdin can be read once: one '-' is enough")
    jar = options["cookie_jar"]
    if jar is not None and not os.path.isdir(os.path.dirname(jar) or "."):
        raise UsageError(f"there is no directory for the cookie jar {jar}")


def _data(options: dict[str, Any]) -> bytes | None:
    if options["json_data"] is not None:
        return _read_data(options["json_data"], is_text=False)
    if not options["data"]:
        return None
    return b"&".join(_read_data(data, is_text=True) for data in options["data"])


def _read_data(data: str, *, is_text: bool) -> bytes:
    """The data, or what is in @FILE; of text, as curl has it, without line ends."""
    if not data.startswith("@"):
        return os.fsencode(data)
    try:
        with open(0 if data == "@-" else data[1:], "rb", closefd=data != "@-") as file:
            content = file.read()
    except OSError as error:
        raise ReadError(f"cannot read {data[1:]}: {error.strerror}") from error
    return content.translate(None, b"\r\n\0") if is_text else content


def _completed(network: Any, output: Any, options: dict[str, Any]) -> Any:
    """Fill in what follows from other options: certificates, headers of JSON, no compression for ranges."""
    from gtool.fetch.request import check_header, check_method, with_json_headers
    from gtool.fetch.urls import BadRequest

    headers = network.header
    try:
        check_method(network.request)
        for line in headers:
            check_header(line)
    except BadRequest as error:
        raise UsageError(str(error)) from error
    if options["json_data"] is not None:
        headers = with_json_headers(headers)
    cacert = network.cacert
    if cacert is None:
        import certifi

        cacert = certifi.where()
    return network._replace(header=headers, cacert=cacert, compressed=network.compressed and not output.resume)
