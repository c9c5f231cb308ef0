"""httpbin on gevent.pywsgi: real HTTP for the tests. Prints its port when it listens; serves until it is killed."""

from __future__ import annotations

import sys
import warnings

from gevent import monkey

monkey.patch_all()

warnings.simplefilter("ignore")
import werkzeug.http  # noqa: E402
from gevent.pywsgi import WSGIServer  # noqa: E402
from werkzeug.datastructures import Authorization  # noqa: E402

# httpbin 0.10.0 is the last one that goes with gevent's greenlet (later ones want greenlet < 3), and it wants a
# function that Werkzeug 3 has under another name.
werkzeug.http.parse_authorization_header = Authorization.from_header
from httpbin import app  # noqa: E402


def main() -> None:
    certificate = {"certfile": sys.argv[1], "keyfile": sys.argv[1]} if len(sys.argv) > 1 else {}
    server = WSGIServer(("127.0.0.1", 0), app, log=None, error_log=None, **certificate)
    server.start()
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
