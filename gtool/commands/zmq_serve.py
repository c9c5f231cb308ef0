"""`gtool zmq-pingpong serve`: its options, and how they become settings."""

from __future__ import annotations

from typing import Any

import click

from gtool.commands.options import Command, option, under
from gtool.commands.types import DURATION, PORTS, SIZE
from gtool.commands.zmq_options import curve_options
from gtool.errors import UsageError

EXIT_STATUS = "0; 2 usage, 5 an endpoint that can't be bound to, 26 a key file that can't be read, 70 a bug in gtool."
EXAMPLES = (
    "gtool zmq-pingpong serve",
    "gtool zmq-pingpong serve --bind 'tcp://*:5555' --data-ports 5556-5559",
    "gtool zmq-pingpong serve --bind ipc:///tmp/pingpong --engine blocking --once",
)


@click.command(
    "serve",
    cls=Command,
    notes="SIGTERM and SIGINT stop accepting, drain, and exit 0; a second one ends at once.",
    exit_status=EXIT_STATUS,
    examples=EXAMPLES,
)
@under(
    "Listening",
    option("--bind", default="tcp://127.0.0.1:5555", metavar="ENDPOINT",
           help="tcp://host:port, where * is all interfaces and a free port, or ipc://path."),
    option("--data-ports", type=PORTS, metavar="LOW-HIGH",
           help="Take the clients of push-pull and pub-sub on these; one each.  [default: any free]"),
    option("--ready-file", type=click.Path(dir_okay=False), metavar="FILE",
           help="Write the endpoint to FILE too, once it can be connected to."),
    option("--engine", type=click.Choice(["green", "blocking"]), default="green",
           help="Wait on gevent's loop, or in libzmq."),
    option("--max-size", type=SIZE, default="1M", metavar="SIZE",
           help="The largest message that may be measured with."),
)  # fmt: skip
@under(
    "Security",
    *curve_options(
        option("--curve-client", "curve_clients", multiple=True, type=click.Path(), metavar="FILE|DIR",
               help="Let in only who has this public key, or one of the *.key in DIR. Repeatable."),
    ),
)  # fmt: skip
@under(
    "Life",
    option("--once", is_flag=True, help="Exit when the first client is done, or has gone."),
    option("--duration", type=DURATION, metavar="TIME", help="Serve so long, then drain and exit."),
    option("--drain-timeout", type=DURATION, default="5s", metavar="TIME",
           help="How long clients may go on after a signal."),
)  # fmt: skip
def serve(**options: Any) -> None:
    """Answer what 'ping' measures against.

    It sends back what comes, of any number of clients at once, and counts what comes one way. When it listens it prints
    its endpoint on stdout.
    """
    from gtool.pingpong.keys import server_keys
    from gtool.pingpong.serve import Settings
    from gtool.pingpong.serve import serve as run
    from gtool.pingpong.server import Limits

    if options["max_size"] < 1:
        raise UsageError("--max-size of 0 would take nothing")
    if options["data_ports"] is not None and not 1 <= options["data_ports"][0] <= options["data_ports"][1] <= 65535:
        raise UsageError("--data-ports are from 1 to 65535")
    if options["bind"].startswith("inproc:"):
        raise UsageError("inproc:// is for one process: nobody could connect", "gtool zmq-pingpong, alone, can")
    run(
        Settings(
            bind=options["bind"],
            engine=options["engine"],
            limits=Limits(options["max_size"], options["data_ports"]),
            keys=server_keys(options["curve_public"], options["curve_secret"], options["curve_clients"]),
            once=options["once"],
            duration=options["duration"],
            drain_timeout=options["drain_timeout"],
            ready_file=options["ready_file"],
        )
    )
