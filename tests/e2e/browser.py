"""A headless Chromium as a real client of our pages, and the TCP proxy between the two that cuts connections."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.conftest import TIMEOUT_S

# As root Chromium has no sandbox; in a container /dev/shm is small. The rest keeps it from calling home.
SWITCHES = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--no-proxy-server",
    "--window-size=1280,800",
)

RECORD = """
window.statuses = [];
new MutationObserver(() => {
  const status = document.querySelector("#status[role=status]")?.textContent;
  if (status && status !== statuses.at(-1)) statuses.push(status);
}).observe(document, {subtree: true, childList: true, characterData: true});
"""


@contextmanager
def browsing() -> Iterator[webdriver.Chrome]:
    """Run a browser of its own: with cookies and storage that no other has."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for switch in SWITCHES:
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = Service(executable_path=shutil.which("chromedriver"))
    # No connection to chromedriver is kept: one that is opened anew during a test would look like a leak of the test's.
    driver = webdriver.Chrome(options=options, service=service, keep_alive=False)
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": RECORD})
    yield driver
    driver.quit()


@pytest.fixture(name="chromium", scope="module")
def chromium_fixture() -> Iterator[webdriver.Chrome]:
    """A browser for the tests of a module. Use `tab`, which is as new for each test."""
    with browsing() as driver:
        yield driver


class Tab:
    """The one tab of the browser, with a page of ours in it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str, status: str = "Connected") -> None:
        """Load a page, and wait until its status is this."""
        self.driver.get(url)
        self.wait_for_status(status)

    def find(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        """The text of an element, whether it is seen or not."""
        return str(self.run("return document.querySelector(arguments[0]).textContent", selector))

    def texts(self, selector: str) -> list[str]:
        """The texts of all elements, read at one moment."""
        script = "return [...document.querySelectorAll(arguments[0])].map((element) => element.textContent)"
        return list(self.run(script, selector))

    def number(self, selector: str) -> float:
        return float(self.text(selector).replace(",", ""))

    def run(self, script: str, *args: Any) -> Any:
        return self.driver.execute_script(script, *args)

    def run_module(self, body: str) -> Any:
        """Run the body of an async function in the page, where `import()` takes our modules; give what it returns."""
        script = f"(async () => {{ {body} }})().then(arguments[0], (error) => arguments[0](String(error)))"
        return self.driver.execute_async_script(script)

    def wait(self, condition: Callable[[], Any], what: str = "") -> Any:
        """Wait until a condition is met; give what it gave."""
        wait = WebDriverWait(self.driver, TIMEOUT_S, poll_frequency=0.05)
        return wait.until(lambda _: condition(), what)

    def wait_for_status(self, *wanted: str) -> None:
        self.wait(lambda: self.text("[role=status]") in wanted, f"the status is not {wanted}")

    @property
    def statuses(self) -> list[str]:
        """All that the status has said since the page was loaded."""
        return list(self.run("return statuses"))

    def console(self) -> list[str]:
        """What is in the console since this was asked before."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def emulate(self, command: str, **parameters: Any) -> None:
        self.driver.execute_cdp_cmd(f"Emulation.{command}", parameters)

    def prefer(self, **features: str) -> None:
        """Set media features, as `prefers_color_scheme="dark"`."""
        named = [{"name": name.replace("_", "-"), "value": value} for name, value in features.items()]
        self.emulate("setEmulatedMedia", features=named)

    def set_offline(self, is_offline: bool) -> None:
        conditions = {"offline": is_offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.driver.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)


@pytest.fixture(name="tab")
def tab_fixture(chromium: webdriver.Chrome) -> Iterator[Tab]:
    tab = Tab(chromium)
    tab.console()
    yield tab
    chromium.get("about:blank")
    tab.emulate("clearDeviceMetricsOverride")
    tab.prefer()


class Proxy:
    """Hands bytes on between clients and a server, until it cuts the connections that there are."""

    def __init__(self, target: tuple[str, int], edit: Callable[[bytes], bytes]) -> None:
        self._target = target
        self._edit = edit
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.accepted = 0
        self.is_down = False  #: whether new connections end at once
        self._start(self._accept)

    def cut(self) -> None:
        """End all connections, without a goodbye of either side's."""
        with self._lock:
            for sock in self._sockets:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def go_down(self) -> None:
        """Be as a server that is away, until come_back()."""
        self.is_down = True
        self.cut()

    def come_back(self) -> None:
        self.is_down = False

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()  # no more connections after it
        self.cut()
        for thread in self._threads:
            thread.join()
        for sock in (*self._sockets, self._listener):
            sock.close()

    def _start(self, run: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.is_down:
                client.close()
                continue
            try:
                server = socket.create_connection(self._target)
            except OSError:  # it is down: so is the way to it
                client.close()
                continue
            with self._lock:
                self._sockets += [client, server]
                self.accepted += 1
            self._start(self._copy, client, server, self._edit)
            self._start(self._copy, server, client, bytes)

    def _copy(self, source: socket.socket, target: socket.socket, edit: Callable[[bytes], bytes]) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(edit(data))
        for sock in (source, target):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


@contextmanager
def proxy(target: tuple[str, int], edit: Callable[[bytes], bytes] = bytes) -> Iterator[Proxy]:
    """Run a proxy. `edit` may change what a client says."""
    proxy = Proxy(target, edit)
    try:
        yield proxy
    finally:
        proxy.close()
