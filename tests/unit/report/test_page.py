"""The page about a training run: its content, and its safety: all text is escaped and nothing is loaded from elsewhere."""

import json
import math
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboardX import SummaryWriter

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.report.facts import facts
from allennlp_elmo_plus.report.page import report_page
from allennlp_elmo_plus.report.run import MAX_MESSAGES, find_mixes, read_run
from tests.helpers.browser import DESKTOP, FAULTS, PHONE, browser

HOSTILE = "</pre><script>alert('x')</script>\"'&<img src=http://example.invalid/x>"
VOID = {"meta", "img", "br", "input"}


class Page(HTMLParser):
    """The tags, attributes and text of a page. AssertionError is raised if tags do not close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, Any]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def write_run(directory: Path, **config: Any) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps({"model": {"type": "bilm"}, **config}), "utf-8")
    for epoch in range(12):
        metrics = {
            "epoch": epoch,
            "best_epoch": epoch,
            "training_duration": f"0:00:{epoch:02d}.5",
            "training_loss": 6.0 - epoch / 10,
            "training_sampled_perplexity": 50.0 - epoch,
            "training_tokens_per_second": 1234.5,
            "training_worker_0_memory_MB": 500.0 + epoch,
            "validation_loss": 5.0,
            "validation_perplexity": 200.0 - epoch,
            "validation_forward_perplexity": math.inf if epoch == 3 else 210.0,
            "best_validation_perplexity": 200.0 - epoch,
        }
        (directory / f"metrics_epoch_{epoch}.json").write_text(json.dumps(metrics), "utf-8")
    writer = SummaryWriter(str(directory / "log" / "train"))
    for step in range(1, 40):
        writer.add_scalar("train/batch_loss", 6 - step / 50, step * 100)
        writer.add_scalar("train/batch_gradient_norm", 3 + step % 4, step * 100)
    writer.close()
    (directory / "out.log").write_text(
        "2026-01-02 03:04:05,678 - INFO - allennlp_elmo_plus.plugin.training.callbacks.plan - plan: 12 epochs of 100 steps\n"
        "2026-01-02 03:04:06,000 - INFO - allennlp.training - Training\n"
        f"2026-01-02 03:04:07,000 - WARNING - allennlp.common - beware of {HOSTILE}\n",
        "utf-8",
    )
    return directory


def test_a_weight_that_two_parts_share_is_counted_once(tmp_path: Path) -> None:
    directory, shared = write_run(tmp_path / "run"), torch.zeros(5, 4)
    weights = {"a.token_encoder.embedding": shared, "a.softmax.weight": shared, "a.softmax.bias": torch.zeros(5)}
    torch.save(weights, directory / "best.th")
    assert read_run(directory).num_parameters == {"softmax": 5, "others": 20}


def test_the_page_of_a_pretraining_run_has_its_metrics_plan_and_config(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "run"))
    assert [metrics["epoch"] for metrics in run.epochs] == list(range(12))
    page = Page(report_page([run]))
    for expected in (
        "Perplexity, exact",
        "Perplexity, sampled: not comparable with the exact one",
        "Loss: training sampled, validation exact",
        "Speed",
        "Most memory so far",
        "Training loss of a batch",
        "Gradient norm before the clip",
        "Not finished, or interrupted; 12 epochs of metrics so far.",
        "12best epoch",
        "plan12 epochs of 100 steps",
        "started2026-01-02 03:04:05",
        "validation forward perplexity: 210 at 12",
        '"type": "bilm"',
        "189",
    ):
        assert expected in page.text, expected
    assert page.tags.count("svg") == 7
    assert "allennlp.training" not in page.text


@pytest.mark.parametrize(
    "logger", ["allennlp_elmo_plus.plugin.plan", "allennlp_elmo_plus.plugin.training.callbacks.plan"]
)
def test_the_plan_is_read_from_logs_before_and_after_the_callback_moved(tmp_path: Path, logger: str) -> None:
    directory = write_run(tmp_path / "run")
    (directory / "out.log").write_text(f"2026-01-02 03:04:05,678 - INFO - {logger} - plan: 3 epochs\n", "utf-8")
    assert read_run(directory).plan == {"plan": "3 epochs"}


def test_the_facts_of_a_run_are_its_size_its_text_and_how_it_was_started(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run", train_data_path="data/*.gz", validation_data_path="heldout.txt")
    (directory / "vocabulary").mkdir()
    (directory / "vocabulary" / "tokens.txt").write_text("<S>\n</S>\n<UNK>\n", "utf-8")
    (directory / "vocabulary" / "non_padded_namespaces.txt").write_text("tokens\n", "utf-8")
    torch.save({"language_model.softmax.bias": torch.zeros(7), "x": torch.zeros(2, 3)}, directory / "best.th")
    resume = "allennlp_elmo_plus.plugin.training.callbacks.resume"
    for name in ("out.log", "out_worker0.log"):
        prefix = "" if name == "out.log" else "0 | "
        with open(directory / name, "a", encoding="utf-8") as file:
            file.write(f"{prefix}2026-01-02 03:04:09,000 - INFO - {resume} - {name}: allennlp train 'a b'\n")
    assert facts(read_run(directory)) == {
        "state": "not finished, or interrupted; 12 epochs of metrics so far",
        "started": "2026-01-02 03:04:05",
        "parameters": "13; 6 without the softmax",
        "vocabulary": "3 tokens",
        "text": "data/*.gz",
        "held-out text": "heldout.txt",
        "plan": "12 epochs of 100 steps",
        "out.log": "allennlp train 'a b'",
        "out_worker0.log": "allennlp train 'a b'",
    }


def test_the_last_warnings_of_a_run_are_shown(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run")
    lines = [f"2026-01-02 03:04:09,000 - WARNING - a.module - number {n}" for n in range(MAX_MESSAGES + 1)]
    (directory / "out.log").write_text("\n".join(lines), "utf-8")
    assert read_run(directory).messages == lines[1:]


def test_several_runs_are_compared(tmp_path: Path) -> None:
    runs = [
        read_run(write_run(tmp_path / "a" / "run", train_data_path="x.txt", trainer={"lr": 1, "epochs": 2})),
        read_run(write_run(tmp_path / "b" / "run", train_data_path="x.txt", trainer={"lr": 0.5, "epochs": 2})),
    ]
    page = Page(report_page(runs))
    # Of several configs, each is one line until the reader opens it.
    assert "<details open>" in report_page(runs[:1]) and "<details open>" not in report_page(runs)
    for expected in ("2 runs", "a/run: 189 at 12", "b/run: 189 at 12", "Validation forward perplexity"):
        assert expected in page.text, expected
    # A chart for each of 7 metrics and 2 curves of batches, each with a curve per run.
    assert page.tags.count("svg") == 9 and page.tags.count("polyline") == 18
    settings = page.text.partition("Settings that differ")[2].partition("Warnings")[0]
    assert "trainer.lr10.5" in settings and "epochs" not in settings and "x.txt" not in settings


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_nothing_overlaps_in_a_browser(width: int, tmp_path: Path) -> None:
    token = {"sentence": ["a", "b"], "position": 0}
    query = {**token, "context_free": [], "contextual": [{"similarity": 0.5, **token}]}
    runs = [read_run(write_run(tmp_path / name)) for name in ("first", "second")]
    with browser(tmp_path) as page:
        for number, content in enumerate((report_page(runs[:1], [query, query]), report_page(runs))):
            path = tmp_path / f"{number}.html"
            path.write_text(content, "utf-8")
            page.open(path.as_uri(), width)
            assert page.evaluate("document.querySelectorAll('svg text').length") > 20
            assert page.evaluate(FAULTS) == []


def test_text_of_the_run_is_escaped_and_nothing_is_loaded(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "run<b>", note=HOSTILE, **{HOSTILE: 1})
    torch.save({f"{HOSTILE}.scalar_parameters.0": torch.zeros(1)}, directory / "best.th")
    metrics = {"epoch": 12, f"validation_{HOSTILE}": 1.0}
    (directory / "metrics_epoch_12.json").write_text(json.dumps(metrics), "utf-8")
    token = {"sentence": [HOSTILE, "b"], "position": 0}
    neighbors = [
        {**token, "context_free": [{"similarity": 1.0, "word": HOSTILE}], "contextual": [{"similarity": 0.5, **token}]}
    ]
    text = report_page([read_run(directory)], neighbors)
    page = Page(text)
    # Twice in the config, once in the warning and in the mix, in the heading and the axis label of the metric, in four neighbours.
    assert page.text.count("<script>alert('x')</script>") >= 9
    assert not {"script", "img", "link", "iframe", "object", "b><", "a"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name in ("src", "href", "srcset") or name.startswith("on")]
    assert "url(" not in text and "@import" not in text
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in page.attributes


def test_the_shares_of_layers_are_those_of_allennlps_scalar_mix(tmp_path: Path) -> None:
    mix = pytest.importorskip("allennlp.modules").ScalarMix(3, initial_scalar_parameters=[0.5, -1.0, 2.0])
    with torch.no_grad():
        mix.gamma.fill_(1.5)
    state = {f"embedder._mix.{name}": value for name, value in mix.state_dict().items()}
    (layer_mix,) = find_mixes({"weight": torch.zeros(2), **state})
    tensors = [torch.eye(3)[layer].view(1, 1, 3) for layer in range(3)]
    assert (layer_mix.name, layer_mix.gamma) == ("embedder._mix", 1.5)
    assert layer_mix.shares == pytest.approx((mix(tensors) / 1.5).flatten().tolist())
    torch.save(state, tmp_path / "best.th")
    (tmp_path / "config.json").write_text("{}", "utf-8")
    page = Page(report_page([read_run(tmp_path)]))
    for expected in ("How the layers are mixed", f"{layer_mix.shares[2]:.3f}", "gamma 1.5"):
        assert expected in page.text


def test_a_run_without_a_finished_epoch_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", "utf-8")
    page = Page(report_page([read_run(tmp_path)]))
    assert "0 epochs of metrics so far" in page.text and "svg" not in page.tags


def test_directories_that_are_not_of_a_run_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: there is no such directory$"):
        read_run(tmp_path / "nowhere")
    with pytest.raises(InputError, match="so this is no serialization directory$"):
        read_run(tmp_path)
    (tmp_path / "config.json").write_text("[]", "utf-8")
    with pytest.raises(InputError, match="config.json: must hold a JSON object, got"):
        read_run(tmp_path)
    (tmp_path / "config.json").write_text("{", "utf-8")
    with pytest.raises(InputError, match="config.json: must be JSON in UTF-8"):
        read_run(tmp_path)
    (tmp_path / "config.json").write_text("{}", "utf-8")
    (tmp_path / "best.th").write_bytes(b"no weights")
    with pytest.raises(InputError, match="best.th: must be a whole file that `torch.save` wrote"):
        read_run(tmp_path)
