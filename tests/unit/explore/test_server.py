"""The server, asked by a program and by Chromium."""

import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.explore.explorer import Explorer
from allennlp_elmo_plus.explore.page import explore_page
from allennlp_elmo_plus.explore.server import LOOPBACK, page_server
from tests.helpers.browser import DESKTOP, FAULTS, PHONE, browser


@pytest.fixture
def url(explorer: Explorer) -> Iterator[str]:
    with page_server(partial(explore_page, explorer, "a biLM"), LOOPBACK, 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{LOOPBACK}:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def status_of(request: urllib.request.Request) -> int:
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def test_only_the_page_is_served_and_only_under_names_of_this_machine(url: str) -> None:
    port = url.rpartition(":")[2]
    for host, status in (
        (f"localhost:{port}", 200),
        (f"{LOOPBACK}:{port}", 200),
        ("localhost", 200),
        (f"example.invalid:{port}", 403),
        ("[", 403),
        ("", 403),
    ):
        assert status_of(urllib.request.Request(f"{url}/", headers={"Host": host})) == status, host
    assert status_of(urllib.request.Request(f"{url}/../etc/passwd")) == 404
    assert status_of(urllib.request.Request(f"{url}/", data=b"x", method="POST")) == 501


def test_a_server_for_the_network_is_called_by_any_name() -> None:
    with page_server(str, "0.0.0.0", 0) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        address = f"http://{LOOPBACK}:{server.server_address[1]}/"
        assert status_of(urllib.request.Request(address, headers={"Host": "example.invalid"})) == 200
        thread.join()


def test_a_port_in_use_is_refused(url: str) -> None:
    port = int(url.rpartition(":")[2])
    for host, taken in ((LOOPBACK, port), (LOOPBACK, 70_000), ("no.such.host.invalid", 0)):
        with pytest.raises(InputError, match=f"^--host and --port must be free to listen at, got {host} and {taken}: "):
            with page_server(str, host, taken):
                pass


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_a_browser_shows_a_sentence_and_compares_two(width: int, url: str, tmp_path: Path) -> None:
    with browser(tmp_path) as page:
        page.open(url, width)
        assert page.evaluate("document.querySelectorAll('.bar i').length") == 20
        assert page.evaluate(FAULTS) == []
        page.evaluate("document.querySelector('[name=first]').value = 'the mill turns .'")
        page.click("button")
        assert page.evaluate("document.querySelectorAll('.bar i').length") == 10
        page.click(".bars a")
        assert page.evaluate("document.querySelector('.chosen').textContent") == "the"
        assert page.evaluate(FAULTS) == []
        page.click("#word ~ .charts a")
        assert page.evaluate("document.querySelector('[name=second]').value").endswith(" mill turns .")
        # Beside each other on a wide screen, one below the other on a phone.
        left, right = page.evaluate("[...document.querySelectorAll('.bars')].map(e => e.getBoundingClientRect().top)")
        assert (left == right) == (width == DESKTOP)
        assert page.evaluate(FAULTS) == []
        page.evaluate("document.querySelector('[name=first]').value = ''")
        page.click("button")
        assert page.evaluate("document.querySelector('.error').textContent") == (
            "the sentence must have at least one word, got none"
        )


def test_a_long_sentence_fits_a_phone(url: str, tmp_path: Path) -> None:
    sentence = "+".join([*["the", "mill", "turns", "."] * 14, "x" * 300, "나비"])
    with browser(tmp_path) as page:
        page.open(f"{url}/?first={sentence}", PHONE)
        assert page.evaluate("document.querySelectorAll('.bar i').length") == 2 * 59
        assert page.evaluate(FAULTS) == []
