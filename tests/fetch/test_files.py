"""Bodies to files: whole or not at all, each under its own name, never outside the directory."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gtool.fetch.bodies import Body, Checks
from gtool.fetch.files import Files, FileStore
from gtool.fetch.record import Headers
from gtool.fetch.request import Request, parse_object, parse_url
from gtool.fetch.stores import BadName, Exists, ResumePoint

URL = "http://some.test/name"
TAGGED = Headers([b"HTTP/1.1 200 OK\r\n", b'ETag: "tag"\r\n'])
UNTAGGED = Headers([b"HTTP/1.1 200 OK\r\n"])

MakeFiles = Callable[..., Files]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """The output directory, not yet made."""
    return tmp_path / "out"


@pytest.fixture
def files(out: Path) -> MakeFiles:
    """Make Files of a template below `out`."""
    return lambda template="{name}", **options: Files(f"{out}/{template}", **options)


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    """Set the umask for this test."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


def asked(url: str = URL, **fields: object) -> Request:
    made = parse_object(json.dumps({"url": url, **fields}))
    assert isinstance(made, Request)
    return made


def store(files: Files, seq: int = 0, url: str = URL, **fields: object) -> FileStore:
    return files.store_for(seq, asked(url, **fields))


def receive(one: FileStore, *pieces: bytes, headers: Headers = UNTAGGED) -> FileStore:
    """Have an attempt deliver this much."""
    one.start()
    one.begin(headers)
    for piece in pieces:
        one.append(piece)
    return one


def deliver(files: Files, data: bytes = b"data", seq: int = 0, url: str = URL, **fields: object) -> str:
    """Have a whole body delivered: the path that its record tells."""
    sha256 = hashlib.sha256(data).hexdigest()
    return receive(store(files, seq, url, **fields), data).finish(sha256)["body_path"]


def leave_part(files: Files, data: bytes, headers: Headers = TAGGED) -> None:
    """Have a run fail after this much."""
    receive(store(files), data, headers=headers).discard()


def tree(directory: Path) -> dict[str, bytes]:
    """All files below a directory, and what is in them."""
    return {str(p.relative_to(directory)): p.read_bytes() for p in directory.rglob("*") if p.is_file()}


# Whole or not at all


def test_a_body_is_in_the_file_that_its_record_names(files, out):
    assert deliver(files()) == f"{out}/name"
    assert tree(out) == {"name": b"data"}


def test_an_empty_body_makes_an_empty_file(files, out):
    receive(store(files())).finish(None)
    assert tree(out) == {"name": b""}


def test_pieces_are_put_together(files, out):
    receive(store(files()), b"one ", b"two").finish(None)
    assert tree(out) == {"name": b"one two"}


def test_nothing_has_the_name_before_it_is_whole(files, out):
    one = receive(store(files()), b"half")
    (temporary,) = tree(out)
    one.discard()
    assert temporary != "name"
    assert temporary.endswith(".part")


def test_a_file_that_is_there_stays_until_the_new_one_is_whole(files, out):
    out.mkdir()
    (out / "name").write_bytes(b"old")
    one = receive(store(files()), b"new")
    before = (out / "name").read_bytes()
    one.finish(None)
    assert (before, (out / "name").read_bytes()) == (b"old", b"new")


def test_nothing_is_made_before_there_is_a_body(files, out):
    store(files()).start()
    assert not out.exists()


def test_a_failed_body_leaves_nothing_behind(files, out):
    assert receive(store(files()), b"half").discard() == {}
    assert tree(out) == {}


def test_an_input_without_a_body_leaves_nothing_behind(files, out):
    one = store(files())
    one.start()
    one.discard()
    assert not out.exists()


def test_a_new_attempt_starts_anew(files, out):
    one = receive(store(files()), b"the first attempt")
    receive(one, b"data").finish(None)
    assert tree(out) == {"name": b"data"}


def test_a_body_that_cannot_take_its_name_leaves_nothing_behind(files, out):
    (out / "name").mkdir(parents=True)
    one = receive(store(files()), b"data")
    with pytest.raises(IsADirectoryError):
        one.finish(None)
    one.discard()
    assert tree(out) == {}


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_mode_is_that_of_any_new_file(files, umask, mask, mode):
    umask(mask)
    assert os.stat(deliver(files())).st_mode & 0o777 == mode


# Names


def test_the_template_is_filled_in(files, out):
    deliver(files("{host}/{seq}.{ext}"), seq=7, url="http://some.test/a/b.txt")
    assert tree(out) == {"some.test/7.txt": b"data"}


def test_a_template_that_cannot_be_used_is_a_value_error():
    with pytest.raises(ValueError, match=r"unknown placeholder \{nope\}"):
        Files("{nope}")


def test_an_input_that_lacks_what_the_name_needs_has_a_bad_name(files):
    with pytest.raises(BadName, match=r"needs \{id\}, which"):
        store(files("{id}"))


def test_two_inputs_of_one_name_are_a_bad_name(files):
    made = files()
    store(made, 0, "http://one.test/name")
    with pytest.raises(BadName, match="another input goes to the file 'name' too"):
        store(made, 1, "http://two.test/name")


def test_a_name_that_is_asked_for_twice_is_a_bad_name(files):
    made = files("{seq}")
    store(made, 0, output="name")
    with pytest.raises(BadName, match="another input"):
        store(made, 1, output="name")


def test_a_name_that_is_asked_for_and_one_of_the_template_clash(files):
    made = files("{name}")
    store(made, 0)
    with pytest.raises(BadName, match="another input"):
        store(made, 1, output="name")


def test_a_name_that_is_asked_for_and_a_numbered_one_clash(files):
    made = files("{seq}")
    store(made, 0)
    with pytest.raises(BadName, match="another input"):
        store(made, 1, output="0")


def test_a_number_beside_other_digits_may_clash(files):
    made = files("{name}{seq}")
    store(made, 1, "http://some.test/a1")
    with pytest.raises(BadName, match="another input"):
        store(made, 11, "http://some.test/a")


@pytest.mark.parametrize("names", [("name", "name.part"), ("name.part", "name"), ("name", "name.part.json")])
def test_what_belongs_to_another_input_until_it_is_whole_is_a_bad_name(files, names):
    made = files(resume=True)
    store(made, 0, f"http://some.test/{names[0]}")
    with pytest.raises(BadName, match="another input"):
        store(made, 1, f"http://some.test/{names[1]}")


def test_numbered_names_are_as_many_as_inputs(files, out):
    made = files("{seq}-{name}")
    for seq in range(3):
        deliver(made, seq=seq)
    assert sorted(tree(out)) == ["0-name", "1-name", "2-name"]


def test_an_input_may_ask_for_a_path(files, out):
    deliver(files("{seq}"), output="some/path.txt")
    assert tree(out) == {"some/path.txt": b"data"}


@pytest.mark.parametrize("output", ["../name", "a/../../name", "/tmp/name", "..", "", "a/"])
def test_no_input_may_ask_for_a_path_that_leads_out(files, output):
    with pytest.raises(BadName, match="is not a file below the output directory"):
        store(files(), output=output)


@pytest.mark.parametrize("path", ["%2e%2e/%2e%2e/name", "..%2f..%2fname", "%2ftmp%2fname", "%00name"])
def test_no_url_leads_out(files, out, path):
    deliver(files("{host}/{path}"), url=f"http://some.test/{path}")
    assert all(name.startswith("some.test/") for name in tree(out))
    assert len(tree(out)) == 1


# Names made of the content


def test_a_body_may_be_named_after_its_content(files, out):
    digest = hashlib.sha256(b"data").hexdigest()
    assert deliver(files("{sha256}.{ext}"), url="http://some.test/a.txt") == f"{out}/{digest}.txt"
    assert tree(out) == {f"{digest}.txt": b"data"}


def test_a_directory_may_be_named_after_the_content(files, out):
    deliver(files("{sha256}/{name}"))
    assert list(tree(out)) == [f"{hashlib.sha256(b'data').hexdigest()}/name"]


def test_two_bodies_of_one_content_are_one_file(files, out):
    made = files("{sha256}")
    deliver(made, seq=0)
    deliver(made, seq=1)
    assert len(tree(out)) == 1


def test_a_name_of_the_content_that_lacks_something_else_fails_before_the_transfer(files):
    with pytest.raises(BadName, match=r"needs \{id\}, which"):
        store(files("{id}/{sha256}"))


def test_names_of_the_content_cannot_be_resumed(files):
    with pytest.raises(ValueError, match="--resume needs names that are known before the body"):
        files("{sha256}", resume=True)


# Files that are there already


def test_a_file_that_is_there_is_left_alone_where_that_is_wanted(files, out):
    out.mkdir()
    (out / "name").write_bytes(b"old")
    with pytest.raises(Exists) as caught:
        store(files(no_clobber=True))
    assert caught.value.path == f"{out}/name"


def test_a_link_to_nothing_is_left_alone_too(files, out):
    out.mkdir()
    (out / "name").symlink_to("nowhere")
    with pytest.raises(Exists):
        store(files(no_clobber=True))


def test_a_file_that_comes_during_the_transfer_is_left_alone(files, out):
    one = receive(store(files(no_clobber=True)), b"new")
    (out / "name").write_bytes(b"faster")
    one.finish(None)
    assert tree(out) == {"name": b"faster"}


def test_a_file_that_is_not_there_is_made_though_none_is_replaced(files, out):
    deliver(files(no_clobber=True))
    assert tree(out) == {"name": b"data"}


# Symbolic links


@pytest.fixture
def trap(out: Path, tmp_path: Path) -> Path:
    """A directory outside, to which `out/link` leads."""
    outside = tmp_path / "outside"
    outside.mkdir()
    out.mkdir()
    (out / "link").symlink_to(outside)
    return outside


def test_a_link_that_leads_out_is_refused(files, trap):
    one = store(files("{path}"), url="http://some.test/link/name")
    with pytest.raises(OSError, match="a symbolic link leads out of the output directory"):
        receive(one, b"data")
    one.discard()
    assert tree(trap) == {}


def test_no_directory_is_made_where_a_link_leads_out(files, trap):
    one = store(files("{path}"), url="http://some.test/link/below/name")
    with pytest.raises(OSError, match="a symbolic link leads out of the output directory"):
        receive(one, b"data")
    assert list(trap.iterdir()) == []


def test_a_link_that_leads_out_is_refused_for_names_of_the_content_too(files, trap):
    one = receive(store(files("{path}-{sha256}"), url="http://some.test/link/name"), b"data")
    with pytest.raises(OSError, match="a symbolic link leads out of the output directory"):
        one.finish("0" * 64)
    one.discard()
    assert tree(trap) == {}


def test_a_link_that_stays_inside_is_followed(files, out):
    (out / "real").mkdir(parents=True)
    (out / "link").symlink_to("real")
    deliver(files("{path}"), url="http://some.test/link/name")
    assert (out / "real/name").read_bytes() == b"data"


def test_the_output_directory_may_be_a_link_itself(files, out, tmp_path):
    (tmp_path / "real").mkdir()
    out.symlink_to("real")
    deliver(files())
    assert tree(tmp_path / "real") == {"name": b"data"}


def test_a_file_that_is_a_link_is_replaced_and_not_written_through(files, out, tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    out.mkdir()
    (out / "name").symlink_to("../target")
    deliver(files())
    assert ((tmp_path / "target").read_bytes(), (out / "name").is_symlink()) == (b"old", False)


def test_a_part_that_is_a_link_is_not_written_through(files, out, tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    out.mkdir()
    (out / "name.part").symlink_to("../target")
    with pytest.raises(OSError, match="symbolic link"):
        receive(store(files(resume=True)), b"new")
    assert (tmp_path / "target").read_bytes() == b"old"


# What cannot be written


def test_a_file_in_place_of_a_directory_is_an_error_that_names_it(files, out):
    out.write_bytes(b"")
    with pytest.raises(FileExistsError) as caught:
        receive(store(files()), b"data")
    assert caught.value.filename == str(out)


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Root may write anywhere: be somebody else."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def test_a_directory_that_may_not_be_written_is_an_error(files, out, request):
    out.mkdir(0o555)
    request.getfixturevalue("unprivileged")
    with pytest.raises(PermissionError):
        receive(store(files()), b"data")


# Going on with an earlier run


def test_a_failed_part_stays_for_the_next_run(files, out):
    leave_part(files(resume=True), b"half")
    assert (out / "name.part").read_bytes() == b"half"
    assert not (out / "name").exists()


def test_the_next_run_goes_on_one_byte_before_the_end(files):
    """Where a part is complete, the server would answer 416 to a request for what comes after it."""
    leave_part(files(resume=True), b"half")
    assert store(files(resume=True)).start() == ResumePoint(3, '"tag"')


def test_what_follows_is_appended(files, out):
    leave_part(files(resume=True), b"half")
    assert receive(store(files(resume=True)), b"f done").finish(None) == {"body_path": f"{out}/name"}
    assert tree(out) == {"name": b"half done"}


def test_a_complete_part_is_completed(files, out):
    leave_part(files(resume=True), b"whole")
    receive(store(files(resume=True)), b"e").finish(None)
    assert tree(out) == {"name": b"whole"}


def test_what_is_there_can_be_read_for_its_digest(files):
    leave_part(files(resume=True), b"half")
    one = store(files(resume=True))
    one.start()
    assert b"".join(one.prefix()) == b"hal"


def test_a_server_that_sends_all_again_starts_anew(files, out):
    leave_part(files(resume=True), b"half")
    one = store(files(resume=True))
    one.start()
    one.rewind()
    one.begin(TAGGED)
    one.append(b"whole")
    one.finish(None)
    assert tree(out) == {"name": b"whole"}


def test_a_server_that_sends_all_again_in_a_later_attempt_starts_anew(files, out):
    one = receive(store(files(resume=True)), b"half", headers=TAGGED)
    one.start()
    one.rewind()
    one.begin(TAGGED)
    one.append(b"whole")
    one.finish(None)
    assert tree(out) == {"name": b"whole"}


def test_a_later_attempt_of_the_same_run_goes_on_too(files, out):
    one = receive(store(files(resume=True)), b"half", headers=TAGGED)
    receive(one, b"f done").finish(None)
    assert tree(out) == {"name": b"half done"}


def test_a_later_attempt_goes_on_where_the_one_before_has_ended(files, out):
    body = Body(store(files(resume=True)), Checks(), None)
    lines = [b"HTTP/1.1 200 OK\r\n", b'ETag: "tag"\r\n']
    body.start(lines, lambda: None)
    body.write(b"0123456789")
    body.take_back()
    point = body.start(lines, lambda: None)
    body.discard()
    assert point == ResumePoint(9, '"tag"')


def test_each_run_may_go_on_a_little(files, out):
    leave_part(files(resume=True), b"0123")
    leave_part(files(resume=True), b"3456")
    receive(store(files(resume=True)), b"6789").finish(None)
    assert tree(out) == {"name": b"0123456789"}


def test_a_rest_whose_answer_does_not_repeat_the_date_can_be_gone_on_with(files):
    """A 206 need not have the Last-Modified of its 200 (RFC 9110 section 15.3.7): that of the request stands."""
    date = b"Sat, 01 Jan 2000 00:00:00 GMT"
    leave_part(files(resume=True), b"half", Headers([b"HTTP/1.1 200 OK\r\n", b"Last-Modified: " + date]))
    leave_part(files(resume=True), b"f do", Headers([b"HTTP/1.1 206 Partial Content\r\n"]))
    assert store(files(resume=True)).start() == ResumePoint(6, date.decode())


def test_an_answer_that_nothing_tells_from_another_starts_anew(files, out):
    leave_part(files(resume=True), b"half", UNTAGGED)
    one = store(files(resume=True))
    assert one.start() is None
    receive(one, b"whole").finish(None)
    assert tree(out) == {"name": b"whole"}


def test_the_part_of_another_url_starts_anew(files, out):
    leave_part(files(resume=True), b"half")
    one = store(files(resume=True), url="http://other.test/name")
    assert one.start() is None
    receive(one, b"whole").finish(None)
    assert tree(out) == {"name": b"whole"}


@pytest.mark.parametrize("part", [b"", b"1"])
def test_a_part_with_nothing_before_its_last_byte_starts_anew(files, part):
    leave_part(files(resume=True), part)
    assert store(files(resume=True)).start() is None


@pytest.mark.parametrize(
    "note", [b"", b'{"url": "http://some.t', b"[]", b"7", b'{"url": "http://some.test/name"}', b"\xff\xfe"]
)
def test_a_note_that_cannot_be_used_starts_anew(files, out, note):
    leave_part(files(resume=True), b"half")
    (out / "name.part.json").write_bytes(note)
    assert store(files(resume=True)).start() is None


def test_a_note_without_its_part_starts_anew(files, out):
    leave_part(files(resume=True), b"half")
    (out / "name.part").unlink()
    assert store(files(resume=True)).start() is None


def test_a_part_without_its_note_starts_anew(files, out):
    leave_part(files(resume=True), b"half")
    (out / "name.part.json").unlink()
    receive(store(files(resume=True)), b"whole").finish(None)
    assert tree(out) == {"name": b"whole"}


def test_a_finished_body_leaves_neither_part_nor_note(files, out):
    receive(store(files(resume=True)), b"data", headers=TAGGED).finish(None)
    assert tree(out) == {"name": b"data"}


def test_nothing_is_resumed_unasked(files, out):
    leave_part(files(resume=True), b"half")
    assert store(files()).start() is None


# What is no file to be replaced


def test_a_device_is_written_to_and_stays_one(tmp_path):
    sink = Files("/dev/null").store_for(0, parse_url("http://h/a"))
    sink.begin(Headers([]))
    sink.append(b"gone")
    assert sink.finish(None) == {"body_path": "/dev/null"}
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_any_number_of_inputs_may_go_to_a_device():
    sinks = Files("/dev/null")
    assert sinks.store_for(0, parse_url("http://h/a")) is not sinks.store_for(1, parse_url("http://h/a"))


def test_a_fifo_is_left_alone(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(BadName, match="left alone"):
        Files(str(tmp_path / "fifo")).store_for(0, parse_url("http://h/a"))


def test_the_name_of_stdout_is_left_alone():
    with pytest.raises(BadName, match="left alone"):
        Files("/dev/stdout").store_for(0, parse_url("http://h/a"))
