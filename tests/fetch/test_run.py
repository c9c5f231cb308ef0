"""`gtool fetch` from its options to its exit status: a real process against real HTTP."""

from __future__ import annotations

import pytest

from tests.conftest import answer
from tests.runtime.scripts import output_of


def test_bodies_come_out_byte_for_byte_in_input_order(gtool, peer):
    server = peer(lambda connection, head: connection.sendall(answer(head.split()[1] + b"\n")))
    urls = [f"{server.url}/{n}" for n in range(50)]
    result = gtool("fetch", *urls)
    assert result.out == b"".join(b"/%d\n" % n for n in range(50))
    assert result.code == 0


def test_one_record_per_input_failed_ones_too(gtool, httpbin, refused_port):
    result = gtool("fetch", "--json", f"{httpbin}/get", f"127.0.0.1:{refused_port}", f"{httpbin}/status/404", "file:x")
    codes = {record["seq"]: record["exitcode"] for record in result.records}
    assert codes == {0: 0, 1: 7, 2: 22, 3: 1}
    assert result.code == 7


PLAIN = """
import sys
from gtool.fetch.run import run
from gtool.fetch.settings import Limits, Network, Output, RetryPolicy, Settings

run(Settings(Network(), Output({output}), Limits(), RetryPolicy(), urls=({url!r},)))
print("", *sys.modules)
"""


@pytest.mark.parametrize("output", ["", "output='/dev/null'"])
def test_plain_bodies_load_nothing_that_only_others_need(peer, output):
    server = peer(lambda connection, head: connection.sendall(answer(b"")))
    loaded = set(output_of(PLAIN.format(url=server.url, output=output))[-1].split())
    assert "gtool.fetch.engine" in loaded
    assert loaded & {"simplejson", "pprint", "ssl", "hashlib", "rich", "hdrh", "gtool.fetch.journal"} == set()
