"""Run the commands of the pages in docs/, page by page, with small texts and models."""

import io
import json
import re
import runpy
import shlex
import shutil
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from allennlp.commands import main

import allennlp_elmo_plus.plugin  # noqa: F401
from allennlp_elmo_plus.__main__ import full_name
from benchmarks.workloads.sample_text import write_text
from tests.helpers.many_langs_models import write_model
from tests.helpers.small_models import small_model, small_options
from tests.helpers.stored_bilms import write_form

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAGES = {path.name: path for path in (ROOT / "docs").glob("*.md")}
# The other pages use the model of pretrain.md.
ORDER = ["pretrain.md", *sorted(set(PAGES) - {"pretrain.md"})]
_BLOCK = re.compile(r"^```bash\n(.*?)^```", re.MULTILINE | re.DOTALL)
_PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)

REQUESTS = """{"sentence": "Return the number of items .", "top": 3}
{"prefix": "Return the", "max_words": 8}
{"prefix": "Return the", "beam": 4}
{"suffix": "of items .", "temperature": 0.8, "seed": 1}
"""

TAGGED = "".join(
    f"1\t{noun}\t{noun}\tNOUN\t_\t_\t0\t_\t_\t_\n2\t{verb}\t{verb}\tVERB\t_\t_\t0\t_\t_\t_\n\n"
    for noun, verb in [("rain", "falls"), ("mills", "turn"), ("winds", "rise"), ("snow", "melts")]
)

PAIRS = """acceptable\tunacceptable\tphenomenon
Return the number .\tReturn number the .\tword order
The items are sorted .\tThe items is sorted .\tagreement
"""

# Models of `tests.helpers.stored_bilms` as the pages call them.
RELEASED = {"renamed": "elmo_small", "zip": "nlpl.zip", "softmax apart": "original", "training": "bilm_tf"}

PROTEINS = "".join(f">P{number}\n{'MKTAYIAKQRGDTLNSH'[number % 9 :] * (3 + number % 5)}\n" for number in range(60))

# The sizes in the configs are ignored, except the projection's, which the tagger's config needs.
SMALL_OPTIONS = """
function(dim, projection_dim, filters=null, n_highway=0) {
  bidirectional: true,
  [if filters != null then 'char_cnn']: {
    activation: 'relu', embedding: { dim: 4 }, filters: [[1, 4], [2, 8]], max_characters_per_token: 50, n_highway: 1,
  },
  lstm: { dim: 66, projection_dim: 64, n_layers: 2, cell_clip: 3, proj_clip: 3, use_skip_connections: true },
  learning_rate: 0.2,
  all_clip_norm_val: 10.0,
  unroll_steps: 20,
}
"""


def commands(page: str) -> list[list[str]]:
    """Return the commands of a page's ```bash blocks, one per line. Other blocks, such as ```sh, are not run."""
    lines = "".join(_BLOCK.findall(page)).replace("\\\n", " ").splitlines()
    split = (shlex.split(line, comments=True) for line in lines)
    return [command for command in split if command]


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with the files that the pages use: texts, tagged sentences, configs."""
    directory = tmp_path_factory.mktemp("docs")
    shutil.copytree(ROOT / "training_config", directory / "training_config")
    (directory / "training_config" / "lib" / "options.libsonnet").write_text(SMALL_OPTIONS, encoding="utf-8")
    shutil.copy(ROOT / ".allennlp_plugins", directory)
    write_text(directory / "train.txt", 8_000)
    write_text(directory / "heldout.txt", 500)
    (directory / "data").mkdir()
    for name in ("train.txt", "heldout.txt"):
        shutil.copy(directory / name, directory / "data")
    (directory / "requests.jsonl").write_text(REQUESTS, encoding="utf-8")
    for name in ("train.conllu", "dev.conllu"):
        (directory / name).write_text(TAGGED, encoding="utf-8")
    released = directory / "released"
    for form, name in RELEASED.items():
        (released / form).mkdir(parents=True)
        source = write_form(released / form, form, small_model().float(), small_options())
        Path(source.path).rename(released / name)
    (directory / "models").mkdir()
    write_model(directory / "models" / "179")
    for name in ("train.fasta", "heldout.fasta"):
        (directory / name).write_text(PROTEINS, encoding="utf-8")
    (directory / "pairs.tsv").write_text(PAIRS, encoding="utf-8")
    rain = [f"It rains for {number} days. Then it snows." for number in range(100)]
    (directory / "articles.txt").write_text("\n\n".join(rain), encoding="utf-8")
    (directory / "petitions.jsonl").write_text(
        "".join(f"{json.dumps({'content': text})}\n" for text in rain), encoding="utf-8"
    )
    (directory / "reviews.csv").write_text("review\n" + "\n".join(rain), encoding="utf-8")
    return directory


def test_the_page_of_tools_shows_these_requests() -> None:
    assert f"```json\n{REQUESTS}```" in PAGES["tools.md"].read_text("utf-8")


@pytest.mark.parametrize("name", ORDER)
def test_the_commands_of_a_page_run(name: str, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory)
    # The plugin is already imported. AllenNLP would import every module of its own and of allennlp_models for each command.
    monkeypatch.setattr("allennlp.commands.import_plugins", lambda: None)
    for command in commands(PAGES[name].read_text("utf-8")):
        run(command, monkeypatch)


def test_the_python_of_the_page_of_integrations_runs(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(directory)
    # Also where the package was installed before it had the entry point by which spaCy finds the component.
    import_module("allennlp_elmo_plus.integrations._spacy")
    names: dict[str, Any] = {}
    for block in _PYTHON.findall(PAGES["integrations.md"].read_text("utf-8")):
        exec(block, names)
    assert [vector.shape for vector in names["vectors"]] == [(128,)] * 2
    assert names["nlp"].pipe_names == ["sentencizer", "elmo_plus"]
    assert set(names["search"].predict(names["texts"])) <= {"file", "return"}


def test_the_walk_through_ends_with_three_taggers(
    directory: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(directory)
    monkeypatch.setattr("allennlp.commands.import_plugins", lambda: None)
    walkthrough = runpy.run_path(str(ROOT / "docs" / "walkthrough.py"))
    # The functions of the walk-through look up names here.
    names = walkthrough["main"].__globals__

    def run_small(*words: object) -> None:
        command = [str(word) for word in words]
        # The text is in the directory already, and small.
        if command[0] == "allennlp_elmo_plus":
            run(["elmo-plus", *command[1:]], monkeypatch)

    monkeypatch.setitem(names, "run", run_small)
    capsys.readouterr()
    walkthrough["main"](directory)
    results = capsys.readouterr().out.partition("with the right tag:\n")[2]
    assert re.findall(r"^  (\w+) +\d+\.\d%$", results, re.MULTILINE) == ["words", "untrained", "pretrained"]


def run(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Run `command` in this process, which is fast; `echo TEXT | COMMAND` gives the command its standard input."""
    if command[0] == "echo":
        assert command[2] == "|", f"`echo` takes one word here, got {shlex.join(command)}"
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{command[1]}\n"))
        command = command[3:]
    program, *arguments = command
    if program == "python":
        assert arguments[0] == "-m", f"`python` runs only modules here, got {shlex.join(command)}"
        monkeypatch.setattr(sys, "argv", arguments[1:])
        runpy.run_module(arguments[1], run_name="__main__")
        return
    assert program in ("elmo-plus", "allennlp"), f"`elmo-plus` and `python -m` run here, got {shlex.join(command)}"
    if program == "elmo-plus":
        command[1] = full_name(command[1])
    monkeypatch.setattr(sys, "argv", command)
    main(prog="allennlp")
