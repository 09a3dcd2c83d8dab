"""Publish a biLM: the files and the model card that are written, and an upload to a stand-in of the Hub, loaded back by `hf://`."""

import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from allennlp_elmo_plus import ElmoEmbedder, InputError
from allennlp_elmo_plus.formats.pretrained import load_language_model
from allennlp_elmo_plus.integrations.hub import push_to_hub, write_repository
from tests.helpers.hub_stand_in import TOKEN, Hub, running_hub
from tests.helpers.saved_bilm import SENTENCES, saved
from tests.helpers.small_models import small_model, small_options
from tests.helpers.stored_bilms import write_form

safetensors = pytest.importorskip("safetensors.torch")
pytest.importorskip("huggingface_hub")

ROOT = Path(__file__).resolve().parents[3]
REPOSITORY = "user/elmo-en"
GRU = {"lstm": {"cell": "gru", "dim": 5, "projection_dim": 5}}
EXPORTED = ["README.md", "model.safetensors", "options.json", "vocab.txt", "weights.hdf5"]


@pytest.fixture
def run_directory(tmp_path: Path) -> Path:
    """Return the directory of a training, with its metrics and a model.tar.gz."""
    directory = tmp_path / "run"
    directory.mkdir()
    saved(directory)
    for name in ("options.json", "weights.hdf5", "vocab.txt"):
        (directory / name).unlink()
    (directory / "metrics.json").write_text(json.dumps({"best_validation_perplexity": 123.456}))
    return directory


def metadata_of(card: str) -> dict[str, object]:
    _, metadata, _ = card.split("---\n", 2)
    return yaml.safe_load(metadata)


def test_the_folder_loads_as_the_same_bilm(run_directory: Path, tmp_path: Path) -> None:
    paths = write_repository(run_directory, REPOSITORY, tmp_path / "out")
    assert sorted(path.name for path in paths) == EXPORTED == sorted(os.listdir(tmp_path / "out"))
    expected = ElmoEmbedder.from_pretrained(run_directory).embed_batch(SENTENCES)
    for ours, theirs in zip(ElmoEmbedder.from_pretrained(tmp_path / "out").embed_batch(SENTENCES), expected):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("overrides", [{}, {"char_cnn": None, "share_embedding_softmax": True}])
def test_safetensors_hold_every_weight_by_its_name(tmp_path: Path, overrides: dict[str, object]) -> None:
    model = small_model(**overrides).float()
    # A softmax with a bias of zeros that shares its weight counts as untrained.
    torch.nn.init.ones_(model.softmax.bias)
    source = write_form(tmp_path, "archive", model, small_options(**overrides))
    write_repository(source.path, REPOSITORY, tmp_path / "out")
    weights = safetensors.load_file(tmp_path / "out" / "model.safetensors")
    assert weights.keys() == dict(model.named_parameters()).keys()
    for name, parameter in model.named_parameters():
        np.testing.assert_array_equal(weights[name].numpy(), parameter.detach().numpy())


def test_a_model_without_a_softmax_is_written_without_one(tmp_path: Path) -> None:
    saved(tmp_path)
    for name in ("model.tar.gz", "vocab.txt"):
        (tmp_path / name).unlink()
    write_repository(tmp_path, REPOSITORY, tmp_path / "out")
    names = safetensors.load_file(tmp_path / "out" / "model.safetensors").keys()
    assert names and not any("softmax" in name for name in names)
    assert "| Vocabulary |" not in (tmp_path / "out" / "README.md").read_text("utf-8")


@pytest.mark.parametrize("overrides", [GRU, {"bidirectional": False}])
def test_a_bilm_that_bilm_tfs_files_cannot_hold_is_written_as_an_archive(
    tmp_path: Path, overrides: dict[str, object]
) -> None:
    source = write_form(tmp_path, "archive", small_model(**overrides).float(), small_options(**overrides))
    paths = write_repository(source.path, REPOSITORY, tmp_path / "out")
    assert sorted(path.name for path in paths) == ["README.md", "model.safetensors", "model.tar.gz"]
    expected = ElmoEmbedder.from_pretrained(source.path).embed_sentence(SENTENCES[0])
    vectors = ElmoEmbedder.from_pretrained(tmp_path / "out").embed_sentence(SENTENCES[0])
    np.testing.assert_array_equal(vectors, expected)
    assert "- `model.tar.gz`: " in (tmp_path / "out" / "README.md").read_text("utf-8")


def test_a_bilm_in_the_other_form_is_replaced(run_directory: Path, tmp_path: Path) -> None:
    other = write_form(tmp_path, "archive", small_model(**GRU).float(), small_options(**GRU))
    out = tmp_path / "out"
    for source in (run_directory, other.path, run_directory):
        write_repository(source, REPOSITORY, out)
        expected = ElmoEmbedder.from_pretrained(source).embed_sentence(SENTENCES[0])
        np.testing.assert_array_equal(ElmoEmbedder.from_pretrained(out).embed_sentence(SENTENCES[0]), expected)


def test_files_of_another_model_are_not_replaced(run_directory: Path, tmp_path: Path) -> None:
    other = write_form(tmp_path, "archive", small_model(**GRU).float(), small_options(**GRU))
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "vocab.txt").write_text("mine\n")
    for source, directory, name in (
        (run_directory, run_directory, "model.tar.gz"),
        (other.path, tmp_path / "project", "vocab.txt"),
    ):
        before = {path.name: path.read_bytes() for path in directory.iterdir()}
        with pytest.raises(InputError, match=f"/{name} would be replaced: write to another directory"):
            write_repository(source, REPOSITORY, directory)
        assert {path.name: path.read_bytes() for path in directory.iterdir()} == before


def test_the_card_names_the_facts_and_how_to_load(run_directory: Path, tmp_path: Path) -> None:
    write_repository(
        run_directory / "model.tar.gz", REPOSITORY, tmp_path, language=["en", "ko"], license="apache-2.0", tags=["news"]
    )
    card = (tmp_path / "README.md").read_text("utf-8")
    metadata = metadata_of(card)
    assert (metadata["language"], metadata["license"]) == (["en", "ko"], "apache-2.0")
    assert metadata["tags"] == ["elmo", "bilm", "word-embeddings", "news"]
    assert metadata["library_name"] == "allennlp_elmo_plus"
    (result,) = metadata["model-index"][0]["results"]
    assert (result["metrics"][0]["type"], result["metrics"][0]["value"]) == ("perplexity", 123.46)
    bilm = load_language_model(run_directory)
    num_parameters = sum(parameter.numel() for parameter in bilm.model.parameters())
    for line in (
        "# elmo-en",
        "| Input | the characters of each word |",
        "| Vectors of a word | 3 of 10 numbers |",
        f"| Parameters | {num_parameters:,} |",
        "| Vocabulary | 11 words |",
        "| Perplexity of held-out text | 123.46 |",
        'embedder = ElmoEmbedder.from_pretrained("hf://user/elmo-en")',
        'nlp.add_pipe("elmo_plus", config={"model": "hf://user/elmo-en"})',
    ):
        assert line in card.splitlines()
    assert "for `allennlp_elmo_plus`, AllenNLP's `Elmo`, bilm-tf\n" in card
    assert "`model.tar.gz`" not in card


def test_the_code_on_the_card_runs(run_directory: Path, tmp_path: Path) -> None:
    pytest.importorskip("spacy")
    import_module("allennlp_elmo_plus.integrations._spacy")
    write_repository(run_directory, REPOSITORY, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text("utf-8").replace(f"hf://{REPOSITORY}", str(tmp_path / "out"))
    names: dict[str, Any] = {}
    for block in re.findall(r"^```python\n(.*?)^```", card, re.MULTILINE | re.DOTALL):
        exec(block, names)
    assert names["vectors"].shape == (3, 4, 10) and "# an array of shape (3, 4, 10)\n" in card
    assert names["vector"].shape == (10,)


def test_facts_that_are_not_known_are_left_out(run_directory: Path, tmp_path: Path) -> None:
    (run_directory / "metrics.json").unlink()
    write_repository(run_directory, REPOSITORY, tmp_path / "out", language="en")
    card = (tmp_path / "out" / "README.md").read_text("utf-8")
    assert metadata_of(card).keys() == {"language", "library_name", "pipeline_tag", "tags"}
    assert "Perplexity" not in card


def test_a_card_in_the_folder_is_kept(run_directory: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("edited")
    paths = write_repository(run_directory, REPOSITORY, tmp_path)
    assert (tmp_path / "README.md").read_text() == "edited"
    assert "README.md" not in {path.name for path in paths}


@pytest.mark.parametrize(
    "repo_id, rule",
    [
        ("elmo-en", "`repo_id` must be USER/NAME, got 'elmo-en'"),
        ("user/elmo en", "`repo_id`: Repo id must use "),
        ("a/b/c", "`repo_id`: "),
    ],
)
def test_a_wrong_name_of_a_repository_is_refused_before_the_model_is_read(repo_id: str, rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        push_to_hub("absent", repo_id)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(InputError, match=r"needs the package safetensors, .*: pip install 'allennlp_elmo_plus\[hub\]'"):
        write_repository("absent", REPOSITORY, tmp_path)


def run_against(hub: Hub, code: str, tmp_path: Path, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    """Run `code` in a process for which `hub` is the Hub; its libraries read the address when they are imported."""
    environment = {"HF_ENDPOINT": hub.url, "HF_TOKEN": token, "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": str(ROOT)}
    environment = {**os.environ, **environment, "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    imports = "import numpy as np\nfrom allennlp_elmo_plus import ElmoEmbedder\nfrom allennlp_elmo_plus.integrations import push_to_hub\n"
    return subprocess.run([sys.executable, "-c", imports + code], env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_an_upload_is_loaded_back_and_the_next_one_keeps_its_card_alone(run_directory: Path, tmp_path: Path) -> None:
    pytest.importorskip("cached_path")
    # The form of its files is another one.
    other = write_form(tmp_path, "archive", small_model(**GRU).float(), small_options(**GRU)).path
    with running_hub() as hub:
        result = run_against(
            hub,
            f"print(push_to_hub({str(run_directory)!r}, {REPOSITORY!r}, language='en', private=True))\n"
            f"ours, theirs = (ElmoEmbedder.from_pretrained(path) for path in ({str(run_directory)!r}, 'hf://{REPOSITORY}'))\n"
            f"np.testing.assert_array_equal(ours.embed_sentence(['river']), theirs.embed_sentence(['river']))\n"
            f"push_to_hub({str(other)!r}, {REPOSITORY!r}, license='mit')\n"
            f"ours, theirs = (ElmoEmbedder.from_pretrained(path) for path in ({str(other)!r}, 'hf://{REPOSITORY}'))\n"
            f"np.testing.assert_array_equal(ours.embed_sentence(['river']), theirs.embed_sentence(['river']))\n",
            tmp_path,
        )
        assert result.returncode == 0, result.stderr
        assert result.stdout == f"{hub.url}/{REPOSITORY}\n"
        assert hub.private == {REPOSITORY: True}
        assert list(map(sorted, hub.commits)) == [EXPORTED, ["model.safetensors", "model.tar.gz"]]
        assert sorted(hub.repositories[REPOSITORY]) == ["README.md", "model.safetensors", "model.tar.gz"]
        assert "language:\n- en\n" in hub.repositories[REPOSITORY]["README.md"].decode()


@pytest.mark.slow
@pytest.mark.parametrize("argument, variable", [("", "hf_wrong"), (", token='hf_wrong'", TOKEN)])
def test_a_refused_upload_is_one_line_and_changes_nothing(
    argument: str, variable: str, run_directory: Path, tmp_path: Path
) -> None:
    with running_hub() as hub:
        result = run_against(
            hub, f"push_to_hub({str(run_directory)!r}, {REPOSITORY!r}{argument})", tmp_path, token=variable
        )
        assert hub.repositories == {}
    line = result.stderr.splitlines()[-1]
    assert line.startswith(f"allennlp_elmo_plus.errors.InputError: {REPOSITORY}: cannot be uploaded: 401 ")
    assert line.endswith("; log in with `hf auth login`, or set HF_TOKEN")
