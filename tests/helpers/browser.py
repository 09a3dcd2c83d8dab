"""Chromium without a window, driven through its DevTools protocol."""

import asyncio
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

_OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --remote-debugging-port=0"
).split()
_SECONDS = 120

DESKTOP, PHONE = 1200, 390

# The names of texts of a chart that overlap, of cards that touch, and the width by which the page is wider than the screen.
FAULTS = """(() => {
  const boxes = selector => [...document.querySelectorAll(selector)].map(e => [e.textContent, e.getBoundingClientRect()]);
  const meet = (a, b, gap) => a.left < b.right + gap && b.left < a.right + gap && a.top < b.bottom + gap && b.top < a.bottom + gap;
  const pairs = (list, gap) => list.flatMap(([name, box], i) =>
    list.slice(i + 1).filter(([_, other]) => meet(box, other, gap)).map(([other]) => [name, other]));
  const charts = [...document.querySelectorAll('svg')].flatMap(svg =>
    pairs([...svg.querySelectorAll('text')].map(e => [e.textContent, e.getBoundingClientRect()]), 1));
  const wide = document.documentElement.scrollWidth - document.documentElement.clientWidth;
  return [...charts, ...pairs(boxes('.card'), 4).map(pair => pair.map(text => text.slice(0, 40))), ...(wide > 0 ? [wide] : [])];
})()"""


class Browser:
    """A page of Chromium."""

    def __init__(self, connection: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._num_calls = 0
        self._num_loads = 0
        self._call("Page.enable")

    def open(self, url: str, width: int = DESKTOP) -> None:
        """Open `url` and wait until it is loaded."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width == PHONE}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        self._num_loads = 0
        self._call("Page.navigate", url=url)
        self._wait_for_page()

    def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page."""
        return self._call("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def click(self, selector: str) -> None:
        """Click on the first element of `selector`, and wait for the page that follows."""
        self._num_loads = 0
        self.evaluate(f"document.querySelector({json.dumps(selector)}).click()")
        self._wait_for_page()

    def _wait_for_page(self) -> None:
        while not self._num_loads:
            self._receive()

    def _call(self, method: str, **parameters: Any) -> Any:
        self._num_calls += 1
        message = {"id": self._num_calls, "method": method, "params": parameters}

        async def send() -> None:
            await self._connection.write_message(json.dumps(message))

        self._loop.run_until_complete(send())
        while (answer := self._receive()).get("id") != self._num_calls:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _receive(self) -> Any:
        async def receive() -> Any:
            return await asyncio.wait_for(self._connection.read_message(), _SECONDS)

        message = json.loads(self._loop.run_until_complete(receive()))
        self._num_loads += message.get("method") == "Page.loadEventFired"
        return message


@contextmanager
def browser(directory: Path) -> Iterator[Browser]:
    """Yield a page of Chromium, whose files are in `directory`; skip the test where Chromium or tornado is missing."""
    websocket = pytest.importorskip("tornado.websocket")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("needs Chromium")
    profile = directory / "profile"
    with open(directory / "chromium.log", "wb") as log:
        process = subprocess.Popen([program, *_OPTIONS, f"--user-data-dir={profile}"], stdout=log, stderr=log)
    try:
        port = _port(profile / "DevToolsActivePort", process)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list") as answer:
            (url,) = [target["webSocketDebuggerUrl"] for target in json.load(answer) if target["type"] == "page"]
        with closing(asyncio.new_event_loop()) as loop:

            async def connect() -> Any:
                # A screenshot of a long page is a message of some megabytes.
                return await websocket.websocket_connect(url, max_message_size=1 << 28)

            yield Browser(loop.run_until_complete(connect()), loop)
    finally:
        process.terminate()
        process.wait()


def _port(path: Path, process: "subprocess.Popen[bytes]") -> str:
    """Return the port that Chromium writes to `path` when it is ready."""
    deadline = time.monotonic() + _SECONDS
    while not (path.is_file() and "\n" in path.read_text()):
        assert process.poll() is None and time.monotonic() < deadline, "Chromium does not start: see chromium.log"
        time.sleep(0.1)
    return path.read_text().split()[0]
