"""Pages come from the packages' static files only, and can do little."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gtool.web.pages import TYPES, Pages, harmless

PAGES = Pages("gtool.feed")


@pytest.mark.parametrize(
    ("path", "content_type"),
    [("/static/page.js", "text/javascript; charset=utf-8"), ("/static/page.css", "text/css; charset=utf-8")],
)
def test_a_file_of_the_package_is_given_with_its_type(path, content_type):
    page = PAGES.find(path)
    assert (bool(page.data), page.content_type) == (True, content_type)


def test_a_file_of_the_shared_package_is_given_too():
    assert PAGES.find("/static/live.js").content_type == "text/javascript; charset=utf-8"


def test_a_file_is_looked_for_again_each_time():
    assert PAGES.find("/static/page.js").headers == [("Cache-Control", "no-cache")]


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/static",
        "/static/",
        "/static/unknown.js",
        "/static/page.JS",
        "/static/page.js/",
        "/static/page.js\0",
        "/static/page",
        "/static/.",
        "/static/..",
        "/static/./page.js",
        "/static/../static/page.js",
        "/static/../app.py",
        "/static/..\\app.py",
        "/static//etc/passwd",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/~/page.js",
        "/static/index.html",
        "/static/index.HTML",
        "/static//page.js",
        "/staticpage.js",
        "/Static/page.js",
        "//static/page.js",
        "static/page.js",
        "x/static/page.js",
        "/static/page.js?x",
        "/static/page.js\n",
    ],
)
def test_nothing_else_is_given(path):
    assert PAGES.find(path) is None


def test_a_name_that_no_file_could_have_is_not_found():
    assert PAGES.find("/static/" + "a" * 300 + ".js") is None


@given(st.text("/.%\\\0~ajs2ef", max_size=20))
@settings(derandomize=True, deadline=None, max_examples=300)
def test_whatever_is_asked_for_lies_in_static(path):
    assert PAGES.find("/static/" + path) is None


@pytest.fixture
def package(monkeypatch, tmp_path) -> str:
    """A package with files that are not to be given; its name is its own, for imports and files are remembered."""
    name = f"package_{tmp_path.name}"
    for path in ("static/secret.py", "static/secret.txt", "static/secret", "static/.secret.js", "static/sub/secret.js"):
        (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name / path).write_text("secret")
    (tmp_path / name / "secret.js").write_text("secret")
    (tmp_path / name / "__init__.py").touch()
    (tmp_path / name / "static" / "seen.svg").write_text("<svg/>")
    monkeypatch.syspath_prepend(tmp_path)
    return name


def test_a_picture_is_given(package):
    assert Pages(package).find("/static/seen.svg").content_type == "image/svg+xml"


@pytest.mark.parametrize(
    "name",
    ["secret.py", "secret.txt", "secret", ".secret.js", "sub/secret.js", "sub/../../secret.js", "../secret.js", "sub"],
)
def test_a_file_that_is_there_is_not_given_if_it_is_no_page_of_ours(package, name):
    assert Pages(package).find(f"/static/{name}") is None


def test_each_type_but_pictures_says_how_it_is_encoded():
    assert all("charset=utf-8" in kind for kind in TYPES.values() if not kind.startswith("image/"))


def directives(host: str = "localhost:10000") -> dict[str, list[str]]:
    headers = dict(PAGES.html("index.html", host).headers)
    policy = headers["Content-Security-Policy"]
    return {words[0]: words[1:] for words in (part.split() for part in policy.split(";"))}


def test_a_page_is_html():
    page = PAGES.html("index.html", "localhost")
    assert page.content_type == "text/html; charset=utf-8"
    assert page.data.lstrip().lower().startswith(b"<!doctype html>")


def test_a_page_may_do_nothing_that_is_not_named():
    assert directives()["default-src"] == ["'none'"]


@pytest.mark.parametrize("kind", ["script-src", "style-src"])
def test_no_script_or_style_runs_but_ours(kind):
    assert directives()[kind] == ["'self'"]


def test_a_page_connects_to_its_own_host_only():
    assert directives("[::1]:80")["connect-src"] == ["'self'", "ws://[::1]:80", "wss://[::1]:80"]


@pytest.mark.parametrize("kind", ["base-uri", "frame-ancestors"])
def test_a_page_is_in_nobodys_frame_and_has_no_other_base(kind):
    assert directives()[kind] == ["'none'"]


def test_a_page_has_no_script_or_style_of_its_own_that_would_not_run():
    text = PAGES.html("index.html", "localhost").data.decode()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)


def harmless_directives(host: str) -> dict[str, list[str]]:
    ((name, policy),) = harmless(host)
    assert name == "Content-Security-Policy"
    return {words[0]: words[1:] for words in (part.split() for part in policy.split(";"))}


def test_a_page_that_is_no_file_is_harmless_in_the_same_way():
    assert harmless_directives("localhost:10000") == directives("localhost:10000")


def test_a_page_sends_its_forms_to_its_own_host_only():
    assert harmless_directives("localhost")["form-action"] == ["'self'"]


@pytest.mark.parametrize("kind", ["script-src", "style-src", "default-src"])
def test_nothing_that_stands_in_a_page_is_run(kind):
    assert not {"'unsafe-inline'", "'unsafe-eval'", "*", "data:"} & set(harmless_directives("localhost")[kind])


@pytest.mark.parametrize("host", ["localhost", "chat.example.com:8080", "[::1]:80", "192.0.2.7"])
def test_a_page_may_speak_to_its_own_host_by_websocket(host):
    assert harmless_directives(host)["connect-src"] == ["'self'", f"ws://{host}", f"wss://{host}"]
