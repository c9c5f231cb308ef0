"""`gtool zmq-pingpong ping`: its options, and how they become settings."""

from __future__ import annotations

from typing import Any

import click

from gtool.commands.options import Command, option, under
from gtool.commands.types import DURATION, RATE, SIZES, THRESHOLD
from gtool.commands.zmq_options import curve_options
from gtool.errors import GtoolError, UsageError

PATTERN = click.Choice(["req-rep", "dealer-router", "push-pull", "pub-sub"])
LARGEST = 64 << 20
DEFAULT_DURATION_S = 3.0
EXIT_STATUS = (
    "0; 2 usage, 3 a threshold that was not met, 4 no answer in time, another one than agreed or a peer that "
    "refuses us, 26 a file that can't be read, 130 interrupted, 141 stdout closed. 4 and 130 print what was "
    "measured until then."
)
EXAMPLES = (
    "gtool zmq-pingpong ping tcp://127.0.0.1:5555 --size 16,1k,64k --engine both --duration 1s",
    "gtool zmq-pingpong ping tcp://127.0.0.1:5555 --pattern push-pull --count 1000000 --json",
    "gtool zmq-pingpong ping tcp://127.0.0.1:5555 --rate 1000/s --fail-if 'p99>5ms' --fail-if 'lost>0'",
)


class _Ping(Command):
    """With --json there is one document in any case."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        wants_json = "--json" in args or any(
            param.value_from_envvar(ctx) == "True" for param in self.params if param.name == "is_json"
        )
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            if wants_json:
                _say_error(UsageError(error.format_message()))
            raise


@click.command("ping", cls=_Ping, exit_status=EXIT_STATUS, examples=EXAMPLES)
@click.argument("endpoint")
@under(
    "What is measured",
    option("--pattern", type=PATTERN, default="req-rep",
           help="Round trips with the first two; with the others the rate one way, as the server counts it. "
                "A publisher drops what it can't send at once."),
    option("--size", "sizes", type=SIZES, default="32", metavar="SIZES",
           help="Of a message, in bytes; 16,1k,64k for a row each, 16..64k for each doubling."),
    option("--count", type=click.IntRange(1), metavar="N", help="Messages, of all clients together."),
    option("--duration", type=DURATION, metavar="TIME",
           help="Measure so long, or until --count.  [default: 3s without --count]"),
    option("--warmup", type=click.IntRange(0), default=100, metavar="N", help="Messages before, of each client."),
    option("--rate", type=RATE, metavar="RATE",
           help="Send at this rate, of all clients together. What waits for answers counts from when it was due."),
    option("--pipeline", type=click.IntRange(1, 100_000), default=1, metavar="N",
           help="Questions that may be open at once, with dealer-router."),
    option("--clients", type=click.IntRange(1, 1000), default=1, metavar="N", help="Clients at once."),
    option("--engine", type=click.Choice(["green", "blocking", "both"]), default="green",
           help="Wait on gevent's loop; or in libzmq, each client in a process of its own; or one after the other."),
    option("--plain", "is_plain", is_flag=True, help="The other side is any that sends back what comes, as a REP."),
)  # fmt: skip
@under(
    "Limits",
    option("--timeout", type=DURATION, default="5s", metavar="TIME", help="For a connection, and for each answer."),
    option("--retries", type=click.IntRange(0), default=0, metavar="N",
           help="Ask anew so often what was not answered in time."),
)  # fmt: skip
@under(
    "Security",
    *curve_options(
        option("--curve-server-key", type=click.Path(), metavar="FILE",
               help="The server's public key: speak CURVE, with a key pair of this run only, or --curve-secret."),
    ),
)  # fmt: skip
@under(
    "Output",
    option("--json", "is_json", is_flag=True, help="One JSON object, on failure too."),
    option("--csv", "is_csv", is_flag=True, help="A line of CSV for each row; times in seconds."),
    option("--histogram", is_flag=True, help="Draw the distribution of round trips."),
    option("--fail-if", "thresholds", multiple=True, type=THRESHOLD, metavar="'NAME>VALUE'",
           help="Exit with 3 if so: 'p99>2ms', 'rate<10000/s', 'lost>0'. Repeatable."),
    option("--compare", type=click.Path(), metavar="FILE", help="Show the change against what --json has printed."),
)  # fmt: skip
def ping(**options: Any) -> None:
    """Measure round trips or rates against 'serve'."""
    try:
        settings, earlier = _settings(options), _earlier(options)
    except GtoolError as error:
        if options["is_json"]:
            _say_error(error)
        raise
    from gtool.pingpong.output import Csv, Json, Output, Table
    from gtool.pingpong.run import run
    from gtool.runtime.stdio import Stdout

    out = Stdout()

    def say(text: str) -> None:
        out.write(text.encode())

    try:
        output: Output
        if options["is_json"]:
            output = Json(say, settings, earlier)
        elif options["is_csv"]:
            output = Csv(say)
        else:
            output = Table(say, settings, earlier, options["histogram"])
        run(settings, output, options["thresholds"])
    finally:
        out.close()


def _settings(options: dict[str, Any]) -> Any:
    """Make the settings. UsageError for options that contradict each other."""
    from gtool.pingpong.keys import client_keys
    from gtool.pingpong.patterns import PATTERNS
    from gtool.pingpong.settings import Settings

    _check(options, PATTERNS[options["pattern"]].is_one_way)
    has_end = options["count"] is not None or options["duration"] is not None
    names = ("endpoint", "pattern", "sizes", "count", "warmup", "rate", "pipeline", "clients", "timeout", "retries",
             "is_plain")  # fmt: skip
    return Settings(
        **{name: options[name] for name in names},
        duration=options["duration"] if has_end else DEFAULT_DURATION_S,
        engines=("green", "blocking") if options["engine"] == "both" else (options["engine"],),
        keys=client_keys(options["curve_server_key"], options["curve_public"], options["curve_secret"]),
    )


def _check(options: dict[str, Any], is_one_way: bool) -> None:
    """Raise UsageError for what can't be measured, and for options that contradict each other."""
    if options["endpoint"].startswith("inproc:"):
        raise UsageError("inproc:// is for one process: nobody is there", "gtool zmq-pingpong, alone, can")
    if options["duration"] == 0 or options["timeout"] == 0:
        raise UsageError("--duration and --timeout are longer than 0")
    if options["count"] is not None and options["count"] < options["clients"]:
        raise UsageError(f"--count {options['count']} is less than one for each of --clients {options['clients']}")
    _check_sizes(options["sizes"], options["pipeline"], options["pattern"])
    if is_one_way:
        for name, text in (("is_plain", "--plain"), ("retries", "--retries"), ("histogram", "--histogram")):
            if options[name]:
                raise UsageError(f"{text} is for round trips: {options['pattern']} goes one way")
    for threshold in options["thresholds"]:
        if not threshold.is_for(is_one_way):
            raise UsageError(f"--fail-if {threshold.text!r}: {options['pattern']} does not measure {threshold.name}")
    if sum((options["is_json"], options["is_csv"], options["histogram"])) > 1:
        raise UsageError("--json, --csv and --histogram are three outputs: choose one")
    if options["is_csv"] and options["compare"] is not None:
        raise UsageError("--compare shows the change in the table, and in --json")


def _check_sizes(sizes: tuple[int, ...], pipeline: int, pattern: str) -> None:
    for size in sizes:
        if not 1 <= size <= LARGEST:
            raise UsageError(f"--size {size}: a message has 1 byte to 64 MiB")
    if pipeline > 1 and pattern != "dealer-router":
        raise UsageError(f"--pipeline is for dealer-router: {pattern} has no questions open at once")
    if pipeline >= 256 ** min(8, *sizes):
        raise UsageError(f"--pipeline {pipeline}: messages of {min(sizes)} B can't be told apart")


def _earlier(options: dict[str, Any]) -> Any:
    from gtool.pingpong.compare import Earlier

    return None if options["compare"] is None else Earlier(options["compare"])


def _say_error(error: GtoolError) -> None:
    """Print the document of a run that has not come to pass."""
    from gtool.pingpong.output import Json
    from gtool.pingpong.result import Outcome

    Json(lambda text: click.echo(text, nl=False), None, None).end(Outcome(), [], error)
