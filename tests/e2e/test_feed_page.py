"""The page of ws-feed in a real browser."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise

import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys

from tests.e2e.browser import Tab, chromium_fixture, proxy, tab_fixture  # noqa: F401  for the arguments of tests
from tests.e2e.servers import GtoolServer, running

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.needs("chromedriver")]

FAST = ("--interval", "50ms", "--seed", "1")
COLOURS = """
const canvas = document.getElementById("chart");
const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
const found = new Set();
for (let i = 0; i < data.length; i += 4) if (data[i + 3] === 255) found.add(data.slice(i, i + 3).join());
return [...found];
"""


@contextmanager
def feed(*args: str) -> Iterator[GtoolServer]:
    with running("ws-feed", "-l", "127.0.0.1:0", *args) as server:
        yield server


@contextmanager
def fed_by_hand() -> Iterator[GtoolServer]:
    with running("ws-feed", "-l", "127.0.0.1:0", "--stdin", stdin=subprocess.PIPE) as server:
        yield server
        assert server.process.stdin
        server.process.stdin.close()


def put(server: GtoolServer, *lines: str) -> None:
    assert server.process.stdin
    server.process.stdin.write("".join(f"{line}\n" for line in lines).encode())
    server.process.stdin.flush()


def walk(tab: Tab) -> list[int]:
    """The x of the messages that are listed, oldest first."""
    return [json.loads(text)["x"] for text in reversed(tab.texts("#messages code"))]


def is_steady(numbers: Sequence[int]) -> bool:
    """Whether none is missing, and none is there twice."""
    return all(after == before + 1 for before, after in pairwise(numbers))


def line_colours(tab: Tab) -> list[str]:
    """The colours of the lines in the legend, as COLOURS gives them."""
    script = """return [...document.querySelectorAll("#legend .swatch")].map((s) => s.style.backgroundColor)"""
    return [",".join(re.findall(r"\d+", colour)) for colour in tab.run(script)]


def wait_for_more(tab: Tab, count: int) -> None:
    """Wait until so many further messages have come."""
    total = tab.number("#total")
    tab.wait(lambda: tab.number("#total") >= total + count, f"{count} more messages")


def pause(tab: Tab) -> None:
    """Pause, and wait for the frame that shows it."""
    tab.find("#pause").click()
    tab.wait(lambda: tab.find("#held").is_displayed())


def image(tab: Tab) -> str:
    return str(tab.run("return document.getElementById('chart').toDataURL()"))


# ------------------------------------------------------------------------------------------------ what there is to see


def test_the_status_is_not_connected_and_then_connected(tab: Tab) -> None:
    with feed(*FAST) as server:
        tab.open(server.urls[0])
        assert tab.statuses == ["Not Connected", "Connected"]


def test_messages_are_listed_the_newest_first(tab: Tab) -> None:
    with feed(*FAST) as server:
        tab.open(server.urls[0])
        wait_for_more(tab, 10)
        tab.wait(lambda: len(walk(tab)) >= 10)
        assert is_steady(walk(tab))
        assert tab.number("#dropped") == 0


def test_a_page_that_is_opened_late_shows_what_came_before_it(tab: Tab) -> None:
    with fed_by_hand() as server:
        put(server, "first", "second")
        tab.open(server.urls[0])
        tab.wait(lambda: tab.texts("#messages code") == ["second", "first"])


def test_the_chart_draws_a_line_of_its_own_colour_for_each_number(tab: Tab) -> None:
    with feed(*FAST) as server:
        tab.open(server.urls[0])
        tab.wait(lambda: tab.texts("#legend .name") == ["x", "y"])
        wait_for_more(tab, 10)
        colours = line_colours(tab)
        assert len(set(colours)) == 2
        tab.wait(lambda: set(colours) <= set(tab.run(COLOURS)), f"{colours} are not all drawn")


def test_nested_fields_and_bare_numbers_are_drawn_too(tab: Tab) -> None:
    with fed_by_hand() as server:
        put(server, '{"cpu": {"user": 1.5}, "host": "a", "up": true, "__proto__": 2}', "17", "[1]", "null", "{]")
        tab.open(server.urls[0])
        tab.wait(lambda: tab.texts("#legend .name") == ["cpu.user", "__proto__", "value"])


def test_the_rate_is_that_of_the_feed(tab: Tab) -> None:
    with feed("--interval", "100ms") as server:
        tab.open(server.urls[0])
        tab.wait(lambda: 5 < tab.number("#rate") < 12)


def test_the_normal_run_leaves_nothing_in_the_console(tab: Tab) -> None:
    with feed(*FAST) as server:
        tab.open(server.urls[0])
        wait_for_more(tab, 10)
        for selector in ("#pause", "#pause", "#windows label:nth-of-type(2)", "#layout label:nth-of-type(2)"):
            tab.find(selector).click()
        wait_for_more(tab, 10)
        assert tab.console() == []


def test_markup_in_a_message_stays_text(tab: Tab) -> None:
    evil = ['<script>document.title = "owned"</script>', '<img src=x onerror="document.title=1">', '{"<b>x</b>": 1}']
    with fed_by_hand() as server:
        tab.open(server.urls[0])
        put(server, *evil)
        tab.wait(lambda: tab.texts("#messages code") == evil[::-1])
        tab.wait(lambda: tab.texts("#legend .name") == ["<b>x</b>"])
        assert tab.run("return document.querySelectorAll('main script, main img, main b').length") == 0
        assert tab.driver.title == "ws-feed"
        assert tab.console() == []


def test_a_long_message_is_folded(tab: Tab) -> None:
    with fed_by_hand() as server:
        tab.open(server.urls[0])
        put(server, "long " * 1000)
        tab.wait(lambda: tab.texts("#messages details > code") == ["long " * 1000])


# -------------------------------------------------------------------------------------------------------- the controls


def test_pause_stops_list_and_chart_but_not_the_counting(tab: Tab) -> None:
    with feed(*FAST) as server:
        tab.open(server.urls[0])
        wait_for_more(tab, 5)
        pause(tab)
        listed, drawn = walk(tab), image(tab)
        wait_for_more(tab, 10)
        assert (walk(tab), image(tab)) == (listed, drawn)
        assert re.fullmatch(r"Paused: \d\d more", tab.text("#held"))
        tab.find("#pause").click()
        tab.wait(lambda: len(walk(tab)) >= len(listed) + 10)
        assert is_steady(walk(tab))
        assert image(tab) != drawn


def test_the_window_can_be_chosen(tab: Tab) -> None:
    with feed(*FAST) as server:
        tab.open(server.urls[0])
        wait_for_more(tab, 10)
        pause(tab)
        images = [image(tab)]
        for number, minutes in ((2, "5 minutes"), (3, "15 minutes")):
            tab.find(f"#windows label:nth-of-type({number})").click()
            tab.wait(lambda: image(tab) not in images)
            images.append(image(tab))
            assert minutes in (tab.find("#chart").get_attribute("aria-label") or "")
        tab.find("#windows label:nth-of-type(1)").click()
        tab.wait(lambda: image(tab) == images[0])


def test_a_line_can_be_hidden_and_shown_again(tab: Tab) -> None:
    with feed(*FAST) as server:
        tab.open(server.urls[0])
        tab.wait(lambda: tab.texts("#legend .name") == ["x", "y"])
        x, y = line_colours(tab)
        tab.wait(lambda: {x, y} <= set(tab.run(COLOURS)))
        button = tab.find("#legend button")
        button.click()
        assert button.get_attribute("aria-pressed") == "false"
        tab.wait(lambda: x not in tab.run(COLOURS))
        assert y in tab.run(COLOURS)
        button.click()
        tab.wait(lambda: x in tab.run(COLOURS))


def test_the_legend_tells_the_values_at_the_pointer(tab: Tab) -> None:
    with fed_by_hand() as server:
        put(server, '{"x": 123456.789}')
        tab.open(server.urls[0])
        tab.wait(lambda: tab.texts("#legend .value") == ["123,456.789"])
        long_ago = ActionChains(tab.driver).move_to_element_with_offset(tab.find("#chart"), -100, 0)
        tab.wait(lambda: long_ago.perform() or tab.texts("#legend .value") == ["\N{EN DASH}"])
        ActionChains(tab.driver).move_to_element(tab.find("h1")).perform()
        tab.wait(lambda: tab.texts("#legend .value") == ["123,456.789"])


def test_all_of_it_can_be_done_with_the_keyboard(tab: Tab) -> None:
    with feed(*FAST) as server:
        tab.open(server.urls[0])
        tab.wait(lambda: tab.texts("#legend .name") == ["x", "y"])
        seen = []
        for _ in range(6):
            tab.driver.switch_to.active_element.send_keys(Keys.TAB)
            element = tab.driver.switch_to.active_element
            seen.append(element.get_attribute("id") or element.get_attribute("name") or element.text.split()[0])
            ringed = "return getComputedStyle(arguments[0].matches('input') ? arguments[0].nextSibling : arguments[0])"
            assert tab.run(f"{ringed}.outlineStyle", element) == "solid"
        assert seen == ["window", "layout", "pause", "x", "y", "log"]
        tab.find("#pause").send_keys(Keys.SPACE)
        assert tab.text("#pause") == "Resume"
        tab.find("#windows input").send_keys(Keys.ARROW_RIGHT)
        assert tab.run("return document.querySelector('#windows input:checked').value") == "300"


# ------------------------------------------------------------------------------------------------- cut, and come again


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, "Closed"), (signal.SIGKILL, "Error")])
def test_it_comes_back_by_itself_when_the_server_does(tab: Tab, number: int, status: str) -> None:
    with feed(*FAST) as server:
        tab.open(server.urls[0])
        wait_for_more(tab, 3)
        server.stop(number)
        tab.wait(lambda: status in tab.statuses)
        tab.wait_for_status("Closed", "Error")
        assert tab.find("#reconnect").is_displayed()
    with running("ws-feed", "-l", f"127.0.0.1:{server.port}", *FAST):
        tab.wait_for_status("Connected")
        wait_for_more(tab, 3)
        assert "could not be recovered" in tab.find("#note").text
        assert len(tab.texts("#messages .gap")) == 1
        tab.find("#note-close").click()
        assert not tab.find("#note").is_displayed()


def test_the_button_tries_at_once(tab: Tab) -> None:
    with feed(*FAST) as server:
        tab.open(server.urls[0])
        server.stop()
        tab.wait_for_status("Closed", "Error")
    with running("ws-feed", "-l", f"127.0.0.1:{server.port}", *FAST):
        tab.run("document.getElementById('reconnect').click()")  # hidden, if it was quicker by itself
        tab.wait_for_status("Connected")


def test_after_a_cut_no_message_is_missing_and_none_comes_twice(tab: Tab) -> None:
    with feed("--interval", "20ms") as server, proxy(server.target()) as between:
        tab.open(between.url)
        for _ in range(3):
            wait_for_more(tab, 10)
            cuts = tab.statuses.count("Error")
            between.cut()
            tab.wait(lambda before=cuts: tab.statuses.count("Error") > before)
            tab.wait_for_status("Connected")
        wait_for_more(tab, 10)
        assert not tab.find("#note").is_displayed()
        server.stop()
        wait_for_each_once(tab)


def test_back_online_it_has_a_new_connection_and_no_message_twice(tab: Tab) -> None:
    with feed("--interval", "20ms") as server, proxy(server.target()) as between:
        tab.open(between.url)
        wait_for_more(tab, 5)
        before = between.accepted
        tab.set_offline(True)
        tab.set_offline(False)
        tab.wait(lambda: between.accepted > before)
        wait_for_more(tab, 20)
        server.stop()
        wait_for_each_once(tab)


def wait_for_each_once(tab: Tab) -> None:
    """Wait until a walk that has ended is shown, and see that each of its messages came, and came once."""
    tab.wait(lambda: tab.number("#total") == walk(tab)[-1] + 1, "as many messages as there were")
    assert is_steady(walk(tab))


def test_a_page_that_can_not_keep_up_is_told_what_it_has_missed(tab: Tab) -> None:
    with feed("--interval", "0", "--slow-size", "1000") as server:
        tab.open(server.urls[0])
        tab.run("const end = performance.now() + 2000; while (performance.now() < end);")
        tab.wait(lambda: tab.text("#dropped") != "0", "no message is said to be dropped")


# ---------------------------------------------------------------------------------------------------- where it is used


@pytest.mark.parametrize("path", ["/feed/", "/feed"])
def test_it_works_under_a_path_of_a_proxy(tab: Tab, path: str) -> None:
    with feed("--base-path", "/feed", *FAST) as server:
        tab.open(server.urls[0].removesuffix("/feed/").rstrip("/") + path)
        wait_for_more(tab, 3)
        assert tab.console() == []


def test_a_token_is_passed_on(tab: Tab) -> None:
    with feed("--token", "a+b &c", *FAST) as server:
        tab.open(f"{server.urls[0]}?token=a%2Bb%20%26c")
        wait_for_more(tab, 3)


def test_without_its_token_the_browser_shows_what_is_missing(tab: Tab) -> None:
    with feed("--token", "secret", *FAST) as server:
        tab.driver.get(server.urls[0])
        assert "the token is missing" in tab.text("body")


def test_a_proxy_that_passes_on_no_upgrade_is_told_of(tab: Tab) -> None:
    with feed(*FAST) as server, proxy(server.target(), without_upgrade) as between:
        tab.open(between.url, status="Error")
        tab.wait(lambda: "has to pass on Upgrade" in tab.find("#note").text)


def without_upgrade(request: bytes) -> bytes:
    return request.replace(b"Upgrade: websocket", b"X-Other: something")


def test_a_phone_has_nothing_to_scroll_sideways(tab: Tab) -> None:
    tab.emulate("setDeviceMetricsOverride", width=375, height=812, deviceScaleFactor=2, mobile=True)
    with fed_by_hand() as server:
        names = {f"a rather long name of a field, number {number}": number for number in range(14)}
        put(server, "w" * 300, "w" * 3000, json.dumps(names))
        tab.open(server.urls[0])
        tab.wait(lambda: len(tab.texts("#messages code")) >= 3 and len(tab.texts("#legend button")) == 12)
        assert tab.run("return [document.documentElement.scrollWidth, innerWidth]") == [375, 375]
        edges = "[document.getElementById('chart').getBoundingClientRect().bottom, document.getElementById('legend')"
        chart, legend = tab.run(f"return {edges}.getBoundingClientRect().top]")
        assert chart <= legend
        heights = "[...document.querySelectorAll('button, fieldset label')].map((element) => element.offsetHeight)"
        assert min(height for height in tab.run(f"return {heights}") if height) >= 44  # hidden ones have none


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_both_colour_schemes(tab: Tab, scheme: str) -> None:
    tab.prefer(prefers_color_scheme=scheme)
    with feed(*FAST) as server:
        tab.open(server.urls[0])
        colours = tab.run("""
            const style = getComputedStyle(document.documentElement);
            const all = [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules[0].style]);
            const names = all.filter((name) => name.startsWith("--"));
            return Object.fromEntries(names.map((name) => [name.slice(2), style.getPropertyValue(name).trim()]));
        """)
        assert (luminance(colours["panel"]) < 0.1) == (scheme == "dark")
        lines = [f"line-{number}" for number in range(12)]
        assert len({colours[line] for line in lines}) == 12
        for name in (*lines, "text", "muted", "good", "bad", "warn"):
            assert contrast(colours[name], colours["panel"]) >= 4.5, name
        for pair in ("text back", "muted back", "muted raised", "text fresh", "muted fresh", "text warn-back"):
            name, behind = pair.split()
            assert contrast(colours[name], colours[behind]) >= 4.5, pair
        for pair in ("on-accent accent", "warn warn-back", "bad raised"):
            name, behind = pair.split()
            assert contrast(colours[name], colours[behind]) >= 4.5, pair


def test_the_chart_follows_a_change_of_the_colour_scheme(tab: Tab) -> None:
    tab.prefer(prefers_color_scheme="light")
    with feed(*FAST) as server:
        tab.open(server.urls[0])
        tab.wait(lambda: tab.texts("#legend .name") == ["x", "y"])
        light = set(line_colours(tab))
        tab.prefer(prefers_color_scheme="dark")
        tab.wait(lambda: light.isdisjoint(line_colours(tab)) and set(line_colours(tab)) <= set(tab.run(COLOURS)))


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_a_screen_reader_hears_new_messages_while_they_are_few(tab: Tab) -> None:
    with fed_by_hand() as server:
        tab.open(server.urls[0])
        put(server, "one")
        tab.wait(lambda: tab.texts("#messages code") == ["one"])
        region = tab.find("[role=log]")
        assert region.get_attribute("aria-live") == "polite"
        assert region.get_attribute("aria-relevant") == "additions"


def test_a_screen_reader_is_spared_messages_that_are_many(tab: Tab) -> None:
    with feed(*FAST) as server:
        tab.open(server.urls[0])
        tab.wait(lambda: tab.find("[role=log]").get_attribute("aria-live") == "off")


def test_who_wants_little_motion_gets_little(tab: Tab) -> None:
    tab.prefer(prefers_reduced_motion="reduce")
    with feed(*FAST) as server:
        tab.open(server.urls[0])
        wait_for_more(tab, 3)
        names = "return document.getAnimations().length"
        assert tab.run(names) == 0


# ----------------------------------------------------------------------------------------------------------- its bounds


def test_a_feed_at_a_high_rate_leaves_the_page_small_and_quick(tab: Tab) -> None:
    with feed("--interval", "1ms") as server:
        tab.open(server.urls[0])
        wait_for_more(tab, 1000)
        tab.wait(lambda: len(tab.texts("#messages li")) == 200)
        pause(tab)
        assert len(tab.texts("#messages li")) == 200
        assert is_steady(walk(tab))


def test_a_chart_keeps_the_extremes_of_a_million_values_in_few_points(tab: Tab) -> None:
    with fed_by_hand() as server:
        tab.open(server.urls[0])
        kept = tab.run_module("""
            const {Lines, WINDOWS_S} = await import("./static/lines.js");
            const lines = new Lines();
            for (let n = 0; n < 1e6; n++) lines.add(n / 1000, [["a", n === 990000 ? 99 : n % 7]]);
            return WINDOWS_S.map((span) => {
                const points = lines.get("a").within(span, 1000);
                return [points.length, Math.min(...points.map((p) => p.min)), Math.max(...points.map((p) => p.max))];
            });
        """)
        assert [extremes for _, *extremes in kept] == [[0, 99]] * 3
        assert all(590 <= count <= 602 for count, *_ in kept), kept


def test_an_axis_has_round_numbers(tab: Tab) -> None:
    with fed_by_hand() as server:
        tab.open(server.urls[0])
        axes = tab.run_module("""
            const {scale, tickText} = await import("./static/chart.js");
            return [[1, 5, 4], [0, 0, 4], [-0.37, 1.2, 4], [1e9, 1e9 + 7, 4], [1e-9, 3e-9, 4], [-1e300, 1e300, 4]]
                .map((values) => scale(...values))
                .map(({low, high, step}) => [tickText(low, step), tickText(high, step)]);
        """)
    expected = [["1", "5"], ["-1", "1"], ["-0.5", "1.5"], ["1B", "1.000000008B"], ["1E-9", "3E-9"], ["-1E300", "1E300"]]
    assert axes == expected
