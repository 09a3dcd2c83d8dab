"""Serve the page to browsers.

Python's own HTTP server suffices: the page is one form and links, and nothing is kept between requests. Libraries for such pages need
dozens of other packages and JavaScript in the browser.
"""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.explore.request import typed_text

LOOPBACK = "127.0.0.1"
_LOOPBACK_NAMES = (LOOPBACK, "localhost")

# Returns the page for what was typed.
WritePage = Callable[[dict[str, str]], str]


@contextmanager
def page_server(write_page: WritePage, host: str, port: int) -> Iterator[ThreadingHTTPServer]:
    """Yield a server of the page; its `serve_forever()` answers browsers until it is interrupted.

    Browsers open several connections at once, so each has a thread of its own. Pages are written by one thread, one at a time: the
    model uses all cores for each.

    Args:
        write_page: returns the page.
        host: the name or address to listen at.
        port: the port; 0 for any that is free.

    Raises:
        InputError: the server cannot listen there.
    """
    with ThreadPoolExecutor(max_workers=1) as writer:

        class Handler(_Handler):
            listens_at = host

            def page(self, typed: dict[str, str]) -> str:
                return writer.submit(write_page, typed).result()

        try:
            server = ThreadingHTTPServer((host, port), Handler)
        except (OSError, OverflowError) as error:
            raise InputError(f"--host and --port must be free to listen at, got {host} and {port}: {error}") from None
        with server:
            yield server


class _Handler(BaseHTTPRequestHandler):
    listens_at: str

    def page(self, typed: dict[str, str]) -> str:
        raise NotImplementedError

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if not self._is_for_us():
            self.send_error(403, "the address must be that of this server")
        elif path != "/":
            self.send_error(404)
        else:
            content = self.page(typed_text(query)).encode("utf-8", "replace")
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    def _is_for_us(self) -> bool:
        """Return whether the browser asked for this machine by a name of its own.

        Otherwise a page from elsewhere, whose name its owner points to 127.0.0.1, could read the text (DNS rebinding).
        """
        name = re.sub(r":\d+$", "", self.headers.get("Host", ""))
        return self.listens_at not in _LOOPBACK_NAMES or name in _LOOPBACK_NAMES

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""
