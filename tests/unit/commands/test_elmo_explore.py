"""`elmo-explore`, up to the moment at which it waits for browsers."""

import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.helpers.command_line import only_line


def answer_once_and_interrupt(self: ThreadingHTTPServer) -> None:
    """Stand in for `serve_forever`."""
    thread = threading.Thread(target=self.handle_request)
    thread.start()
    with urlopen(f"http://127.0.0.1:{self.server_address[1]}/?first=the+cat") as page:
        assert "This biLM has no softmax" in page.read().decode()
    thread.join()
    raise KeyboardInterrupt


def test_the_page_of_a_model_is_served_until_ctrl_c(
    bilm: Path, text: Path, run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ThreadingHTTPServer, "serve_forever", answer_once_and_interrupt)
    ended = run("elmo-explore", bilm, "--text", text, "--port", 0)
    assert ended.status == 0 and ended.out.startswith("open http://127.0.0.1:")
    assert ended.out.rstrip().endswith("in a browser; Ctrl-C ends")


def test_errors_are_one_line_before_anything_is_served(bilm: Path, tmp_path: Path, run) -> None:
    ended = run("elmo-explore", tmp_path / "no.tar.gz")
    assert ended.status == 1 and "no.tar.gz: there is no such file or directory" in only_line(ended.err)
    ended = run("elmo-explore", bilm, "--text", tmp_path / "no.txt")
    assert ended.status == 1 and "no.txt" in only_line(ended.err)
    (tmp_path / "blank.txt").write_text("\n\n", "utf-8")
    ended = run("elmo-explore", bilm, "--text", tmp_path / "blank.txt")
    assert ended.status == 1 and ended.out == ""
    ended = run("elmo-explore", bilm, "--port", 70_000)
    assert ended.status == 1 and "--host and --port must be free to listen at" in only_line(ended.err)
    ended = run("elmo-explore", bilm, "--port", "x")
    assert ended.status == 2
