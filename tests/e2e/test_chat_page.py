"""The pages of chat in real browsers."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

import pytest
from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.conftest import TIMEOUT_S
from tests.e2e.browser import Proxy, Tab, browsing, chromium_fixture, proxy, tab_fixture  # noqa: F401  for arguments
from tests.e2e.relay import relaying
from tests.e2e.servers import GtoolServer, running
from tests.e2e.test_feed_page import contrast, luminance, without_upgrade

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.needs("chromedriver")]

MARKUP = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'><b>bold</b> &amp; {{ 7 * 7 }}"


@pytest.fixture(name="ann")
def ann_fixture(tab: Tab) -> Iterator[Tab]:
    """A browser without cookies; it is to be Ann's."""
    yield tab
    _forget(tab)


@pytest.fixture(name="other_chromium", scope="module")
def other_chromium_fixture() -> Iterator[webdriver.Chrome]:
    with browsing() as driver:
        yield driver


@pytest.fixture(name="bob")
def bob_fixture(other_chromium: webdriver.Chrome) -> Iterator[Tab]:
    """Another browser, to be Bob's."""
    tab = Tab(other_chromium)
    tab.console()
    yield tab
    tab.driver.get("about:blank")
    _forget(tab)


def _forget(tab: Tab) -> None:
    tab.emulate("setScriptExecutionDisabled", value=False)
    tab.driver.execute_cdp_cmd("Network.clearBrowserCookies", {})


@contextmanager
def chat(*args: str) -> Iterator[GtoolServer]:
    with running("chat", "-l", "127.0.0.1:0", "--store", "memory:", "--post-burst", "1000", *args) as server:
        yield server


def home(server: GtoolServer, base: str = "") -> str:
    return f"http://127.0.0.1:{server.port}{base}/"


def come(tab: Tab, root: str, user: str, room: str = "topic1") -> None:
    """Be in a room, and wait until new messages come."""
    tab.open(f"{root.rstrip('/')}/{room}/{user}")


def write(tab: Tab, *texts: str) -> None:
    """Type messages, and send each."""
    for text in texts:
        tab.find("#message").send_keys(text, Keys.ENTER)


def post(root: str, *texts: str, room: str = "topic1", user: str = "script") -> list[str]:
    """Post by the API, as a script does; give the ids."""
    url = f"{root.rstrip('/')}/api/rooms/{room}/messages"
    ids = []
    for text in texts:
        data = json.dumps({"user": user, "text": text}).encode()
        with urlopen(Request(url, data, {"Content-Type": "application/json"}), timeout=TIMEOUT_S) as answer:
            ids.append(json.load(answer)["id"])
    return ids


def said(root: str, room: str = "topic1") -> list[str]:
    """What the server has kept."""
    with urlopen(f"{root.rstrip('/')}/api/rooms/{room}/messages?since=all&limit=500", timeout=TIMEOUT_S) as answer:
        return [message["text"] for message in json.load(answer)["messages"]]


def messages(tab: Tab) -> list[str]:
    return tab.texts("#messages .text")


def wait_for(tab: Tab, *texts: str) -> None:
    """Wait until these are the messages that are shown."""
    tab.wait(lambda: messages(tab) == list(texts), f"not {texts}")


def numbered(first: int, last: int) -> list[str]:
    return [f"number {number}" for number in range(first, last + 1)]


def transport(tab: Tab) -> str:
    return str(tab.run("return document.body.dataset.transport"))


# ----------------------------------------------------------------------------------------------------------- the way in


def test_a_name_is_chosen_and_leads_to_the_rooms_and_a_room(ann: Tab) -> None:
    with chat("--room", "builds", "--room", "lunch") as server:
        ann.driver.get(home(server))
        ann.find("#name").send_keys("Ann", Keys.ENTER)
        ann.wait(lambda: ann.driver.current_url == f"{home(server)}Ann")
        assert ann.texts("#rooms [data-room] bdi") == ["builds", "lunch"]
        ann.find("[data-room=lunch]").click()
        ann.wait(lambda: ann.text("h1") == "lunch")
        ann.wait_for_status("Connected")
        assert ann.console() == []


def test_a_name_that_is_taken_is_refused_beside_its_field(ann: Tab, bob: Tab) -> None:
    with chat() as server:
        come(bob, home(server), "Bob")
        ann.driver.get(home(server))
        ann.find("#name").send_keys("BOB", Keys.ENTER)
        ann.wait(lambda: "taken" in ann.text("[role=alert]"))
        assert ann.find("#name").get_attribute("aria-invalid") == "true"
        assert ann.find("#name").get_attribute("value") == "BOB"


def test_a_name_that_is_markup_is_shown_as_text(ann: Tab) -> None:
    with chat() as server:
        ann.driver.get(home(server))
        ann.find("#name").send_keys('"><b id=x>', Keys.ENTER)
        ann.wait(lambda: ann.texts("[role=alert]"))
        assert ann.find("#name").get_attribute("value") == '"><b id=x>'
        assert ann.texts("#x") == []


def test_a_browser_goes_on_under_its_name_and_gives_it_back(ann: Tab) -> None:
    with chat() as server:
        come(ann, home(server), "Ann")
        ann.run("localStorage.setItem('another', 'x')")
        ann.driver.get(home(server))
        assert ann.texts(".names .go") == ["Go on as Ann"]
        ann.find(".names button").click()
        ann.wait(lambda: ann.texts(".names .go") == [] and ann.texts("#name") == [""])
        assert ann.run("return Object.keys(localStorage)") == ["another"]


def test_a_private_server_asks_for_its_token(ann: Tab, tmp_path: Any) -> None:
    (tmp_path / "token").write_text("sesame")
    with chat("--token", str(tmp_path / "token")) as server:
        ann.driver.get(home(server))
        ann.find("#name").send_keys("Ann")
        ann.find("#token").send_keys("wrong", Keys.ENTER)
        ann.wait(lambda: ann.texts("[role=alert]"))
        assert ann.find("#token").get_attribute("aria-invalid") == "true"
        ann.find("#token").send_keys("sesame", Keys.ENTER)
        ann.wait(lambda: ann.text("h1") == "Rooms")
        come(ann, home(server), "Ann")
        write(ann, "inside")
        wait_for(ann, "inside")


def test_a_room_is_opened_where_that_is_allowed(ann: Tab) -> None:
    with chat("--allow-new-rooms") as server:
        ann.driver.get(f"{home(server)}Ann")
        ann.wait(lambda: ann.find("#room-name").is_displayed())
        ann.find("#room-name").send_keys("a/b", Keys.ENTER)
        ann.wait(lambda: "letters" in ann.text("#new-room-error"))
        ann.find("#room-name").clear()
        ann.find("#room-name").send_keys("кухня", Keys.ENTER)
        ann.wait(lambda: ann.text("h1") == "кухня")
        ann.wait_for_status("Connected")
        write(ann, "hello")
        wait_for(ann, "hello")


def test_where_new_rooms_are_not_allowed_there_is_no_form_for_them(ann: Tab) -> None:
    with chat() as server:
        ann.driver.get(f"{home(server)}Ann")
        assert ann.texts("#new-room") == []


def test_what_is_not_there_is_told_with_a_way_back(ann: Tab) -> None:
    with chat("--base-path", "/x") as server:
        ann.driver.get(f"{home(server, '/x')}nowhere/Ann")
        assert "no room nowhere" in ann.text("[role=alert]")
        ann.find(".go").click()
        ann.wait(lambda: ann.driver.current_url == home(server, "/x"))


# ------------------------------------------------------------------------------------------------------------- talking


def test_two_browsers_talk(ann: Tab, bob: Tab) -> None:
    with chat() as server:
        come(ann, home(server), "Ann")
        come(bob, home(server), "Bob")
        write(ann, "hello Bob")
        wait_for(bob, "hello Bob")
        write(bob, "hello Ann")
        for tab in (ann, bob):
            wait_for(tab, "hello Bob", "hello Ann")
            assert tab.texts(".user") == ["Ann", "Bob"]
        assert [ann.texts(".own .text"), bob.texts(".own .text")] == [["hello Bob"], ["hello Ann"]]
        assert ann.console() == bob.console() == []
        come(ann, home(server), "Ann")
        wait_for(ann, "hello Bob", "hello Ann")
        assert ann.texts(".own .text") == ["hello Bob"]


def test_text_is_text(ann: Tab, bob: Tab) -> None:
    with chat() as server:
        come(ann, home(server), "Ann")
        come(bob, home(server), "Bob")
        write(ann, MARKUP)
        for tab in (ann, bob):
            wait_for(tab, MARKUP)
        come(bob, home(server), "Bob")  # from the server this time
        wait_for(bob, MARKUP)
        bob.find("#q").send_keys("bold", Keys.ENTER)
        bob.wait(lambda: bob.texts("#finds .text") == [MARKUP])
        for tab in (ann, bob):
            assert tab.run(
                "return [window.hacked, document.querySelectorAll('#messages :is(b, img, script)').length]"
            ) == [
                None,
                0,
            ]
            assert tab.console() == []


def test_marks_that_turn_text_around_stay_in_their_message(ann: Tab) -> None:
    with chat() as server:
        post(home(server), "\N{RIGHT-TO-LEFT OVERRIDE}txt.exe", "https://a.example/\N{RIGHT-TO-LEFT OVERRIDE}moc")
        come(ann, home(server), "Ann")
        styles = "return [...document.querySelectorAll('bdi')].map((one) => getComputedStyle(one).unicodeBidi)"
        assert set(ann.run(styles)) == {"isolate"}
        assert ann.texts(".text a") == ["https://a.example/"]


def test_new_lines_are_kept_and_long_words_are_wrapped(ann: Tab) -> None:
    with chat() as server:
        come(ann, home(server), "Ann")
        ann.find("#message").send_keys("one", Keys.SHIFT, Keys.ENTER, Keys.NULL, "two", Keys.ENTER)
        wait_for(ann, "one\ntwo")
        assert ann.find("#messages .text").text == "one\ntwo"
        post(home(server), "w" * 2000)
        ann.wait(lambda: len(messages(ann)) == 2)
        assert (
            ann.run(
                "const {scrollWidth, clientWidth} = document.getElementById('scroll'); return scrollWidth - clientWidth"
            )
            == 0
        )


def test_links_can_be_followed_and_nothing_else(ann: Tab) -> None:
    with chat() as server:
        post(
            home(server),
            "see https://example.com/a_(b)?c=d&e#f, (http://10.0.0.1:8080/) and http://[::1]/.",
            "javascript:alert(1) data:text/html,x ftp://x file:///etc https:// HTTPS://Example.COM",
        )
        come(ann, home(server), "Ann")
        assert ann.texts(".text a") == [
            "https://example.com/a_(b)?c=d&e#f",
            "http://10.0.0.1:8080/",
            "http://[::1]/",
            "HTTPS://Example.COM",
        ]
        for link in ann.driver.find_elements("css selector", ".text a"):
            assert link.get_attribute("rel") == "noopener noreferrer nofollow"
            assert link.get_attribute("target") == "_blank"


def test_times_are_those_of_the_reader(ann: Tab) -> None:
    with chat() as server:
        post(home(server), "now")
        for zone, hours in (("Asia/Kolkata", 5.5), ("America/New_York", None)):
            ann.emulate("setTimezoneOverride", timezoneId=zone)
            come(ann, home(server), "Ann")
            clock = ann.find("#messages time")
            hour = ann.run("return new Date(arguments[0]).getHours()", clock.get_attribute("datetime"))
            assert int(clock.text.split(":")[0]) % 12 == hour % 12
            assert str(time.gmtime().tm_year) in clock.get_attribute("title")
            if hours is not None:
                assert ann.run("return new Date().getTimezoneOffset()") == -hours * 60
        ann.emulate("setTimezoneOverride", timezoneId="")


def test_a_day_is_named_once(ann: Tab) -> None:
    with chat() as server:
        post(home(server), *numbered(1, 3))
        come(ann, home(server), "Ann")
        assert ann.run("return [...document.querySelectorAll('.message')].map((one) => Boolean(one.dataset.day))") == [
            True,
            False,
            False,
        ]
        days = ann.run_module("""
            const {MessageLog} = await import("../static/log.js");
            const [scroll, list] = ["div", "ol"].map((tag) => document.createElement(tag));
            const log = new MessageLog(scroll, list, "me");
            const at = (offset, time) => log.add({id: `e:${offset}`, time, user: "u", text: String(offset)});
            at(3, 2 * 86400); at(1, 0); at(5, 3 * 86400); at(4, 2 * 86400 + 60); at(3, 0); at(2, 10);
            return [...list.children].map((one) =>
                [one.querySelector(".text").textContent, Boolean(one.dataset.day), one.classList.contains("follows")]);
        """)
        assert days == [
            ["1", True, False],
            ["2", False, True],
            ["3", True, False],
            ["4", False, True],
            ["5", True, False],
        ]


# ------------------------------------------------------------------------------------------------- cut, and come again


def test_who_was_away_misses_nothing_and_has_nothing_twice(ann: Tab, bob: Tab) -> None:
    with chat() as server, proxy(server.target()) as between:
        come(ann, between.url, "Ann")
        come(bob, home(server), "Bob")
        write(bob, "before")
        wait_for(ann, "before")
        between.go_down()
        ann.wait_for_status("Offline")
        ann.wait(lambda: ann.find("#banner").is_displayed() and "be reached" in ann.text("#reason"))
        post(home(server), *numbered(1, 40))
        between.come_back()
        ann.wait_for_status("Connected")
        wait_for(ann, "before", *numbered(1, 40))
        for _ in range(3):
            between.cut()
            post(home(server), "again")
        wait_for(ann, "before", *numbered(1, 40), "again", "again", "again")
        assert not ann.find("#banner").is_displayed()
        assert len(ann.texts(".gap")) == 0


def test_the_next_attempt_is_told_and_can_be_had_now(ann: Tab) -> None:
    with chat() as server, proxy(server.target()) as between:
        come(ann, between.url, "Ann")
        between.go_down()
        ann.wait(lambda: re.fullmatch(r"Next attempt in ([3-9]|1\d) s\.", ann.text("#countdown")))
        between.come_back()
        before = between.accepted
        ann.find("#retry").click()
        ann.wait_for_status("Connected")
        assert between.accepted > before


def test_what_is_typed_while_offline_is_sent_later_once_and_in_order(ann: Tab, bob: Tab) -> None:
    with chat() as server, proxy(server.target()) as between:
        come(ann, between.url, "Ann")
        come(bob, home(server), "Bob")
        between.go_down()
        ann.wait_for_status("Offline")
        write(ann, "one", "two", "three")
        ann.wait(lambda: ann.texts("#outbox .waiting .text") == ["one", "two", "three"])
        write(bob, "meanwhile")
        wait_for(bob, "meanwhile")
        between.come_back()
        for tab in (ann, bob):
            wait_for(tab, "meanwhile", "one", "two", "three")
        ann.wait(lambda: ann.texts("#outbox li") == [])
        assert said(home(server)) == ["meanwhile", "one", "two", "three"]


def test_what_waits_outlives_the_page(ann: Tab) -> None:
    with chat() as server, proxy(server.target()) as between:
        come(ann, between.url, "Ann")
        between.go_down()
        ann.wait_for_status("Offline")
        write(ann, "one", "two")
        ann.wait(lambda: len(ann.texts("#outbox li")) == 2)
        ann.driver.get("about:blank")
        between.come_back()
        come(ann, between.url, "Ann")
        wait_for(ann, "one", "two")
        ann.wait(lambda: not any("outbox" in key for key in ann.run("return Object.keys(localStorage)")))
        come(ann, between.url, "Ann")
        wait_for(ann, "one", "two")


def test_a_message_whose_answer_is_lost_is_said_once(ann: Tab) -> None:
    lost = []

    def lose(data: bytes) -> bytes | None:
        if b" 201 " in data and len(lost) < 3:
            lost.append(data)
            return None
        return data

    with chat() as server, relaying(server.port, down=lose) as relay:
        come(ann, f"http://127.0.0.1:{relay.port}", "Ann")
        write(ann, "once")
        ann.wait(lambda: len(lost) == 3 and ann.texts("#outbox li") == [])
        write(ann, "more")
        wait_for(ann, "once", "more")
        assert said(home(server)) == ["once", "more"]


def test_two_tabs_that_wait_send_a_message_once(ann: Tab) -> None:
    with chat() as server, proxy(server.target()) as between:
        come(ann, between.url, "Ann")
        between.go_down()
        ann.wait_for_status("Offline")
        write(ann, "one")
        ann.wait(lambda: len(ann.texts("#outbox li")) == 1)
        first = ann.driver.current_window_handle
        ann.driver.switch_to.new_window("tab")
        between.come_back()
        come(ann, between.url, "Ann")
        wait_for(ann, "one")
        ann.driver.close()
        ann.driver.switch_to.window(first)
        wait_for(ann, "one")
        ann.wait(lambda: ann.texts("#outbox li") == [])
        assert said(home(server)) == ["one"]


def test_who_writes_too_fast_waits_its_turn(ann: Tab) -> None:
    with chat("--post-rate", "2/s", "--post-burst", "1") as server:
        come(ann, home(server), "Ann")
        write(ann, "one", "two", "three")
        wait_for(ann, "one", "two", "three")
        assert ann.texts("#outbox .refused") == []


def test_a_refused_message_can_be_changed_or_dropped(ann: Tab) -> None:
    with chat("--max-message", "20") as server:
        come(ann, home(server), "Ann")
        write(ann, "far too long for this server", "short")
        wait_for(ann, "short")
        ann.wait(lambda: ann.texts("#outbox .state") == ["Not sent: a message has up to 20 bytes"])
        ann.find("#outbox button:nth-of-type(2)").click()
        assert ann.find("#message").get_attribute("value") == "far too long for this server"
        assert ann.texts("#outbox li") == []
        ann.find("#message").send_keys(Keys.ENTER)
        ann.wait(lambda: len(ann.texts("#outbox .refused")) == 1)
        ann.find("#outbox button:nth-of-type(3)").click()
        assert ann.texts("#outbox li") == []
        come(ann, home(server), "Ann")
        assert said(home(server)) == messages(ann) == ["short"]


def test_what_can_not_be_recovered_is_marked_and_nothing_comes_twice(ann: Tab) -> None:
    with chat("--max-messages", "10") as server, proxy(server.target()) as between:
        come(ann, between.url, "Ann")
        post(home(server), "first")
        wait_for(ann, "first")
        between.go_down()
        ann.wait_for_status("Offline")
        post(home(server), *numbered(1, 15))
        between.come_back()
        wait_for(ann, "first", *numbered(6, 15))
        assert ann.texts("#messages > :nth-child(2)") == [
            "Some messages are missing here: the server keeps them no more."
        ]
        between.cut()
        post(home(server), "last")
        wait_for(ann, "first", *numbered(6, 15), "last")
        assert len(ann.texts(".gap")) == 1


def test_a_server_that_begins_anew_says_that_the_name_is_gone(ann: Tab) -> None:
    with chat() as server:
        come(ann, home(server), "Ann")
        post(home(server), "before")
        wait_for(ann, "before")
    with running("chat", "-l", f"127.0.0.1:{server.port}", "--store", "memory:"):
        ann.wait(lambda: "You are Ann no more" in ann.text("#reason"))
        ann.find("#again").click()
        ann.wait_for_status("Connected")
        write(ann, "after")
        wait_for(ann, "after")


def test_a_loss_is_told_once_even_if_nothing_follows_it(ann: Tab) -> None:
    with chat() as server:
        ann.driver.get(f"{home(server)}topic1/Ann")
        begun = ann.run_module("""
            const {live} = await import("../static/live.js");
            const begun = [];
            const transport = (since, {opened, heard, ended}) => {
                begun.push(since);
                setTimeout(() => {
                    opened();
                    if (begun.length === 1) heard('{"recovered": false, "oldest": "b:7"}');
                    if (begun.length === 2) heard('{"cursor": "b:9"}');
                    ended({isClean: true, reason: ""});
                });
                return {close() {}};
            };
            const connection = live([transport], {since: "a:1"});
            while (begun.length < 3) await new Promise(requestAnimationFrame);
            connection.close();
            return begun;
        """)
        assert begun == ["a:1", "b:7", "b:9"]


# ---------------------------------------------------------------------------------------------------------- transports


def test_where_no_websocket_gets_through_there_are_events(ann: Tab, bob: Tab) -> None:
    with chat() as server, proxy(server.target(), without_upgrade) as between:
        come(ann, between.url, "Ann")
        assert transport(ann) == "events"
        come(bob, home(server), "Bob")
        assert transport(bob) == "websocket"
        talk_and_be_cut(ann, bob, between)
        assert transport(ann) == "events"


def test_where_no_events_get_through_either_there_are_polls(ann: Tab, bob: Tab) -> None:
    def without_streams(request: bytes) -> bytes:
        return without_upgrade(request).replace(b"GET /api/stream?", b"GET /api/nothing?")

    with chat() as server, proxy(server.target(), without_streams) as between:
        come(ann, between.url, "Ann")
        assert transport(ann) == "poll"
        come(bob, home(server), "Bob")
        bob.wait(lambda: bob.texts("#people bdi") == ["Ann", "Bob"])
        talk_and_be_cut(ann, bob, between)
        assert transport(ann) == "poll"


def talk_and_be_cut(ann: Tab, bob: Tab, between: Proxy) -> None:
    write(ann, "hello")
    wait_for(bob, "hello")
    write(bob, "one")
    wait_for(ann, "hello", "one")
    between.go_down()
    write(bob, "two")
    ann.wait_for_status("Offline")
    write(ann, "three")
    between.come_back()
    for tab in (ann, bob):
        wait_for(tab, "hello", "one", "two", "three")
    ann.wait_for_status("Connected")
    write(bob, "four")
    wait_for(ann, "hello", "one", "two", "three", "four")


def test_a_websocket_that_was_there_is_not_given_up_for_a_restart(ann: Tab) -> None:
    with chat() as server, proxy(server.target()) as between:
        come(ann, between.url, "Ann")
        for _ in range(2):
            between.go_down()
            ann.wait(lambda: re.fullmatch(r"Next attempt in [2-9] s\.", ann.text("#countdown")))
            between.come_back()
            ann.find("#retry").click()
            ann.wait_for_status("Connected")
            assert transport(ann) == "websocket"


# ----------------------------------------------------------------------------------------------- who is there, and what


def test_who_comes_and_goes_is_shown(ann: Tab, bob: Tab) -> None:
    with chat() as server:
        come(ann, home(server), "Ann")
        ann.wait(lambda: ann.texts("#people li") == ["Ann (you)"])
        come(bob, home(server), "Bob")
        ann.wait(lambda: ann.texts("#people li") == ["Ann (you)", "Bob"])
        assert ann.text("#present") == "2"
        come(bob, home(server), "Bob", "topic2")
        ann.wait(lambda: ann.texts("#people li") == ["Ann (you)"])


def test_the_list_of_rooms_says_who_is_where_and_what_is_unread(ann: Tab, bob: Tab) -> None:
    with chat() as server:
        ann.driver.get(f"{home(server)}Ann")
        ann.wait(lambda: ann.texts(".who") == ["Nobody here", "Nobody here"])
        come(bob, home(server), "Bob", "topic2")
        ann.wait(lambda: ann.texts(".who") == ["Nobody here", "Here: \u2068Bob\u2069"])
        write(bob, "one", "two")
        ann.wait(lambda: ann.texts("#rooms .count:not([hidden])") == ["2 unread"])
        assert ann.driver.title == "(2) Rooms"
        ann.driver.refresh()
        ann.wait(lambda: ann.texts("#rooms .count:not([hidden])") == ["2 unread"])


def test_who_types_is_shown_until_it_is_said(ann: Tab, bob: Tab) -> None:
    with chat() as server:
        come(ann, home(server), "Ann")
        come(bob, home(server), "Bob")
        bob.find("#message").send_keys("h")
        ann.wait(lambda: ann.text("#typing") == "\u2068Bob\u2069 is typing…")
        assert bob.text("#typing") == ""
        bob.find("#message").send_keys("i", Keys.ENTER)
        wait_for(ann, "hi")
        assert ann.text("#typing") == ""
        bob.find("#message").send_keys("and")
        ann.wait(lambda: ann.text("#typing") != "")
        ann.wait(lambda: ann.text("#typing") == "")  # it was not said


def test_unread_messages_of_other_rooms_are_counted(ann: Tab) -> None:
    with chat() as server:
        come(ann, home(server), "Ann")
        post(home(server), *numbered(1, 3), room="topic2")
        post(home(server), "mine", room="topic2", user="script2")
        badge = "[data-room=topic2] .count"
        ann.wait(lambda: ann.text(badge) == "4 unread")
        assert ann.driver.title == "(4) topic1"
        ann.driver.get("about:blank")
        post(home(server), *numbered(4, 4), room="topic2")
        come(ann, home(server), "Ann")
        ann.wait(lambda: ann.text(badge) == "5 unread")
        come(ann, home(server), "Ann", "topic2")
        ann.wait(lambda: ann.driver.title == "topic2")
        come(ann, home(server), "Ann")
        ann.wait(lambda: ann.driver.title == "topic1")
        post(home(server), *numbered(1, 120), room="topic2")
        ann.wait(lambda: ann.text(badge) == "99+ unread")
        assert not ann.find("[data-room=topic1] .count").is_displayed()


def test_a_reader_of_older_messages_is_not_moved_and_is_told_of_new_ones(ann: Tab) -> None:
    with chat() as server:
        post(home(server), *(f"{number}\n\n\n" + "." for number in range(25)))
        come(ann, home(server), "Ann")
        ann.run("document.getElementById('scroll').scrollTop = 300")
        ann.wait(lambda: ann.run("return document.getElementById('scroll').scrollTop") == 300)
        post(home(server), "new one")
        ann.wait(lambda: ann.find("#newer").is_displayed() and ann.text("#newer") == "1 new message")
        assert ann.driver.title == "(1) topic1"
        assert ann.run("return document.getElementById('scroll').scrollTop") == 300
        ann.find("#newer").click()
        ann.wait(lambda: not ann.find("#newer").is_displayed())
        assert ann.driver.title == "topic1"
        post(home(server), "new two")
        ann.wait(lambda: messages(ann)[-1] == "new two")
        assert (
            ann.run("const s = document.getElementById('scroll'); return s.scrollHeight - s.scrollTop - s.clientHeight")
            < 2
        )


def test_scrolling_up_shows_what_was_said_before_and_keeps_the_place(ann: Tab) -> None:
    with chat() as server:
        post(home(server), *numbered(1, 130))
        come(ann, home(server), "Ann")
        assert messages(ann) == numbered(106, 130)
        place = "return document.querySelector('.message:nth-last-child(20)').getBoundingClientRect().top"
        ann.run("document.getElementById('scroll').scrollTop = 250")  # not so near to the top that more is asked for
        before = ann.run(place)
        for count in (75, 125):
            ann.run("document.getElementById('older').click()")
            ann.wait(lambda count=count: len(messages(ann)) == count)
            assert abs(ann.run(place) - before) < 2
        assert messages(ann) == numbered(6, 130)
        ann.run("document.getElementById('scroll').scrollTop = 100")
        wait_for(ann, *numbered(1, 130))
        assert not ann.find("#older").is_displayed()
        assert ann.run("return document.getElementById('scroll').scrollTop") > 100
        assert ann.console() == []


def test_what_was_said_is_found(ann: Tab) -> None:
    with chat() as server:
        post(home(server), *(f"needle {number}" for number in range(40)), "hay")
        post(home(server), "needle elsewhere", room="topic2")
        come(ann, home(server), "Ann")
        ann.find("#q").send_keys("needle", Keys.ENTER)
        ann.wait(lambda: len(ann.texts("#finds li")) == 30)
        assert ann.text("#finds .text") == "needle 39"
        ann.find("#more").click()
        ann.wait(lambda: ann.text("#found") == "40 found")
        assert not ann.find("#more").is_displayed()
        ann.find("[name=everywhere]").click()
        ann.find("#q").send_keys(Keys.ENTER)
        ann.wait(lambda: ann.texts("#finds .text")[:1] == ["needle elsewhere"])
        ann.find("#q").clear()
        ann.find("#q").send_keys("nothing", Keys.ENTER)
        ann.wait(lambda: ann.text("#found") == "Nothing found")
        ann.find("#done").click()
        assert not ann.find("#results").is_displayed()
        assert ann.console() == []


# ---------------------------------------------------------------------------------------------------- where it is used


def test_it_works_under_a_base_path(ann: Tab) -> None:
    with chat("--base-path", "/deep/chat") as server:
        ann.driver.get(home(server, "/deep/chat").rstrip("/"))
        use_everything(ann, home(server, "/deep/chat"))


def test_it_works_behind_a_proxy_that_strips_a_path(ann: Tab) -> None:
    def strip(request: bytes) -> bytes:
        return re.sub(rb"(GET|POST) /deep/chat/", rb"\1 /", request)

    with chat() as server, proxy(server.target(), strip) as between:
        ann.driver.get(f"{between.url}/deep/chat/")
        use_everything(ann, f"{between.url}/deep/chat/")


def use_everything(tab: Tab, root: str) -> None:
    """Go from page to page by what is on them."""
    tab.find("#name").send_keys("Ann", Keys.ENTER)
    tab.wait(lambda: tab.driver.current_url == f"{root}Ann")
    tab.find("[data-room=topic1]").click()
    tab.wait_for_status("Connected")
    assert tab.driver.current_url == f"{root}topic1/Ann"
    assert transport(tab) == "websocket"
    write(tab, "hello")
    wait_for(tab, "hello")
    tab.find("#q").send_keys("hello", Keys.ENTER)
    tab.wait(lambda: tab.texts("#finds .text") == ["hello"])
    tab.find("#rooms-title a").click()
    tab.wait(lambda: tab.driver.current_url == f"{root}Ann")
    tab.find(".bar button").click()
    tab.wait(lambda: tab.driver.current_url == root)
    assert tab.console() == []


def test_it_works_without_javascript(ann: Tab, bob: Tab) -> None:
    with chat("--room", "topic1", "--room", "topic2", "--allow-new-rooms") as server:
        come(bob, home(server), "Bob")
        ann.emulate("setScriptExecutionDisabled", value=True)
        ann.driver.get(home(server))
        ann.find("#name").send_keys("Ann")
        ann.find("button.main").click()
        ann.wait(lambda: ann.driver.current_url == f"{home(server)}Ann" and ann.texts("[data-room=topic1]"))
        assert not ann.find("#new-room").is_displayed()
        ann.find("[data-room=topic1]").click()
        ann.wait(lambda: ann.run("return document.getElementById('message') !== null"))
        ann.find("#message").send_keys("no scripts, <b>please</b>")
        ann.find("#composer button").click()
        wait_for(ann, "no scripts, <b>please</b>")
        assert ann.driver.current_url == f"{home(server)}topic1/Ann"
        wait_for(bob, "no scripts, <b>please</b>")
        write(bob, "as you like")
        wait_for(bob, "no scripts, <b>please</b>", "as you like")
        ann.find(".hint a").click()
        wait_for(ann, "no scripts, <b>please</b>", "as you like")
        for selector in ("#status", "#search", "#older", "#banner", "#results"):
            assert not ann.find(selector).is_displayed(), selector
        ann.find("#rooms-title a").click()
        ann.wait(lambda: ann.driver.current_url == f"{home(server)}Ann" and ann.texts(".bar button"))
        ann.find(".bar button").click()
        ann.wait(lambda: ann.driver.current_url == home(server))


def test_a_form_that_is_sent_twice_says_its_message_once(ann: Tab) -> None:
    with chat() as server:
        come(ann, home(server), "Ann")
        answers = ann.run_module("""
            const form = document.getElementById("composer");
            form.elements.message.value = "once";
            const send = () => fetch(form.action, {method: "POST", body: new URLSearchParams(new FormData(form))});
            return [(await send()).ok, (await send()).ok];
        """)
        assert answers == [True, True]
        assert said(home(server)) == ["once"]


def test_the_page_stays_small_and_what_it_let_go_comes_back(ann: Tab) -> None:
    with chat() as server:
        come(ann, home(server), "Ann")
        counts = ann.run_module("""
            const {MessageLog} = await import("../static/log.js");
            const [scroll, list] = ["scroll", "messages"].map((id) => document.getElementById(id));
            let pruned = 0;
            const log = new MessageLog(scroll, list, "me", () => (pruned += 1));
            const at = (offset) => ({id: `e:${offset}`, time: offset, user: "u", text: String(offset)});
            for (let offset = 1; offset <= 1010; offset++) log.add(at(offset));
            const before = [list.childElementCount, log.oldestId, pruned];
            log.addOlder([at(9), at(10), at(11)]);
            return [...before, list.childElementCount, log.oldestId];
        """)
        assert counts == [1000, "e:11", 10, 1002, "e:9"]


def shown(tab: Tab) -> list[str]:
    return [element.text for element in tab.driver.find_elements("css selector", "#messages .text")]


@pytest.mark.parametrize("page", ["", "Ann", "topic1/Ann", "nowhere/Ann"])
def test_a_phone_has_nothing_to_scroll_sideways(ann: Tab, page: str) -> None:
    ann.emulate("setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=2, mobile=True)
    rooms = [argument for number in range(12) for argument in ("--room", f"a-room-with-a-long-name-{number:08}")]
    with chat("--room", "topic1", *rooms, "--max-message", "4000", "--allow-new-rooms") as server:
        post(home(server), "w" * 2000, "a https://example.com/" + "w" * 300, user="n" * 32)
        come(ann, home(server), "Ann")
        write(ann, "w" * 4001)
        ann.wait(lambda: ann.texts("#outbox .refused"))
        ann.find("#q").send_keys("a", Keys.ENTER)
        ann.wait(lambda: ann.texts("#finds li"))
        if page != "topic1/Ann":
            ann.driver.get(home(server) + page)
        assert ann.run("return [document.documentElement.scrollWidth, innerWidth]") == [360, 360]
        heights = "[...document.querySelectorAll('button, .go')].map((one) => one.offsetHeight)"
        assert min([height for height in ann.run(f"return {heights}") if height], default=44) >= 44


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_colour_schemes(ann: Tab, scheme: str) -> None:
    ann.prefer(prefers_color_scheme=scheme)
    with chat() as server:
        ann.driver.get(home(server))
        colours = ann.run("""
            const style = getComputedStyle(document.documentElement);
            const all = [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules[0].style]);
            const names = all.filter((name) => name.startsWith("--"));
            return Object.fromEntries(names.map((name) => [name.slice(2), style.getPropertyValue(name).trim()]));
        """)
    assert (luminance(colours["panel"]) < 0.1) == (scheme == "dark")
    names = [f"tint-{number}" for number in range(10)]
    for pair in (
        *(f"{name} {behind}" for name in names for behind in ("panel", "own", "back")),
        *("text panel", "text own", "text fresh", "text back", "text warn-back", "text bad-back", "muted panel"),
        *("muted own", "muted back", "muted raised", "accent panel", "accent own", "accent back", "on-accent accent"),
        *("good panel", "bad panel", "bad bad-back", "warn warn-back", "accent warn-back"),
    ):
        name, behind = pair.split()
        assert contrast(colours[name], colours[behind]) >= 4.5, pair
    assert contrast(colours["edge"], colours["panel"]) >= 3


def test_who_wants_little_motion_gets_little(ann: Tab) -> None:
    ann.prefer(prefers_reduced_motion="reduce")
    with chat() as server:
        come(ann, home(server), "Ann")
        post(home(server), "new")
        wait_for(ann, "new")
        assert ann.run("return document.getAnimations().length") == 0


def test_a_screen_reader_hears_what_is_new_and_nothing_else(ann: Tab) -> None:
    with chat() as server:
        post(home(server), *numbered(1, 30))
        come(ann, home(server), "Ann")
        log = ann.find("[role=log]")
        assert [log.get_attribute("aria-live"), log.get_attribute("aria-relevant")] == ["polite", "additions"]
        ann.run("document.getElementById('older').click()")
        ann.wait(lambda: len(messages(ann)) == 30)
        # For a moment after it has connected, what comes is summed up, not read out one by one.
        ann.wait(lambda: post(home(server), "new") and heard(ann, "new")[-1:] == ["polite"])
        assert set(heard(ann, "number")) == {"off"}
        assert re.fullmatch(r"\d+ messages? came meanwhile", ann.text("#said"))


def heard(tab: Tab, text: str) -> list[str]:
    """How the messages with a text would be read out."""
    script = """
        return [...document.querySelectorAll(".message")]
            .filter((one) => one.textContent.includes(arguments[0]))
            .map((one) => one.closest("[aria-live]").ariaLive);
    """
    return list(tab.run(script, text))


def test_the_keyboard_reaches_all_in_order(ann: Tab) -> None:
    with chat() as server:
        post(home(server), *numbered(1, 20))
        come(ann, home(server), "Ann")
        seen = []
        for _ in range(9):
            ann.driver.switch_to.active_element.send_keys(Keys.TAB)
            element = ann.driver.switch_to.active_element
            seen.append(element.get_attribute("id") or element.get_attribute("name") or element.text)
            assert ann.run("return getComputedStyle(arguments[0]).outlineStyle", element) == "solid", seen[-1]
        assert seen == [
            "Skip to writing a message",
            "q",
            "everywhere",
            "Find",
            "Rooms",
            "topic1",
            "topic2",
            "scroll",
            "message",
        ]
        ActionChains(ann.driver).send_keys("written", Keys.ENTER).perform()
        wait_for(ann, *numbered(1, 20), "written")


def test_the_focus_stays_with_the_messages_when_all_are_shown(ann: Tab) -> None:
    with chat() as server:
        post(home(server), *numbered(1, 30))
        come(ann, home(server), "Ann")
        ann.run("document.getElementById('older').focus()")  # scrolls up, too
        wait_for(ann, *numbered(1, 30))
        assert ann.run("return document.activeElement.id") == "scroll"


def test_every_field_has_a_label(ann: Tab) -> None:
    with chat("--allow-new-rooms") as server:
        for page in ("", "Ann", "topic1/Ann"):
            ann.driver.get(home(server) + page)
            fields = "[...document.querySelectorAll('input:not([type=hidden]), textarea')]"
            assert all(ann.run(f"return {fields}.map((field) => field.labels.length)"))


# ----------------------------------------------------------------------------------------------------------- its bounds


def test_a_burst_is_shown_whole_and_in_order(ann: Tab) -> None:
    with chat() as server:
        come(ann, home(server), "Ann")
        root = home(server)
        halves: list[Callable[[], Any]] = [
            lambda: post(root, *numbered(1, 100), user="one"),
            lambda: post(root, *numbered(101, 200), user="two"),
        ]
        threads = [threading.Thread(target=half) for half in halves]
        for thread in threads:
            thread.start()
        write(ann, "from here")
        for thread in threads:
            thread.join(TIMEOUT_S)
        ann.wait(lambda: len(messages(ann)) == 201)
        assert messages(ann) == said(root)
