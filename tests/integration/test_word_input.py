"""A biLM with word input in AllenNLP's commands: trained, evaluated, used to score and embed, exported and imported."""

import json
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from allennlp.commands.train import train_model
from allennlp.common import Params
from allennlp.data import Batch
from allennlp.models.archival import load_archive

import allennlp_elmo_plus.plugin  # noqa: F401
from allennlp_elmo_plus.data.text.vocabulary import read_vocabulary
from tests.helpers.command_line import run_command
from tests.helpers.small_text import SENTENCES, small_config, write_text

# `waits` and `knows` are in the biLM's text but not in the tagger's; `cellar` is in neither.
TAGGED = """1\tThe\tthe\tDET\t_\t_\t0\t_\t_\t_
2\tmill\tmill\tNOUN\t_\t_\t0\t_\t_\t_
3\tturns\tturn\tVERB\t_\t_\t0\t_\t_\t_

1\tnobody\tnobody\tPRON\t_\t_\t0\t_\t_\t_
2\tworks\twork\tVERB\t_\t_\t0\t_\t_\t_
"""


# Words of the text that have a special meaning in AllenNLP's vocabulary files.
AS_ALLENNLP_ESCAPES = "the mill @@NEWLINE@@ and @@PADDING@@ the river@@NEWLINE@@ @@UNKNOWN@@ .\n" * 3


def config_of(directory: Path, **model: Any) -> dict[str, Any]:
    config = small_config(directory)
    config["dataset_reader"]["token_indexers"] = {"tokens": {"type": "single_id"}}
    del config["model"]["char_cnn"]
    config["model"] |= model
    return config


@pytest.fixture(scope="module", params=[True, False], ids=["shared", "apart"])
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("words")
    config = config_of(directory, share_embedding_softmax=request.param)
    for name in ("train.txt", "heldout.txt"):
        with open(directory / name, "a", encoding="utf-8") as file:
            file.write(AS_ALLENNLP_ESCAPES)
    train_model(Params(config), str(directory / "out"))
    return directory


def weights_of(archive: Path) -> dict[str, torch.Tensor]:
    return load_archive(archive).model.language_model.state_dict()


def test_a_shared_embedding_is_the_softmaxs_matrix_and_the_softmax_has_its_own_bias(trained: Path) -> None:
    shared = json.loads((trained / "out" / "config.json").read_text())["model"]["share_embedding_softmax"]
    model = load_archive(trained / "out" / "model.tar.gz").model.language_model
    assert (model.softmax.weight is model.token_encoder.embedding) == shared
    assert model.softmax.bias.shape == (len(model.token_encoder.embedding),) and model.softmax.bias.any()


def test_evaluate_reports_the_perplexity_of_the_validation(trained: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    archive, output = trained / "out" / "model.tar.gz", tmp_path / "metrics.json"
    ended = run_command(monkeypatch, capsys, "evaluate", archive, trained / "heldout.txt", "--output-file", output)
    assert ended.status == 0
    best = json.loads((trained / "out" / "metrics.json").read_text())["best_validation_perplexity"]
    assert json.loads(output.read_text())["perplexity"] == pytest.approx(best, rel=1e-6)


def test_predict_scores_sentences_and_reads_unknown_words_as_unk(
    trained: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    sentences = [SENTENCES[0], ["the", "cellar", "."], ["the", "<UNK>", "."]]
    text, output = write_text(tmp_path / "text.txt", sentences), tmp_path / "scores.jsonl"
    archive = trained / "out" / "model.tar.gz"
    run_command(monkeypatch, capsys, "predict", archive, text, "--output-file", output, "--silent", "--batch-size", "3")
    lines = [json.loads(line) for line in output.read_text(encoding="utf-8").splitlines()]
    assert [line["words"] for line in lines] == sentences and lines[0]["perplexity"] > 1
    assert lines[1]["forward_log_probs"] == pytest.approx(lines[2]["forward_log_probs"])


def test_export_and_import_lose_nothing(trained: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    archive, exported, again = trained / "out" / "model.tar.gz", tmp_path / "elmo", tmp_path / "imported.tar.gz"
    ended = run_command(monkeypatch, capsys, "elmo-export", archive, exported)
    assert ended.status == 0 and "largest difference from the written files, in 4 sentences: 0.00e+00" in ended.out
    assert "AllenNLP's Elmo cannot use these files: `char_cnn` must be given, as it reads characters only" in ended.err
    assert "char_cnn" not in json.loads((exported / "options.json").read_text())
    words = read_vocabulary(exported / "vocab.txt")
    with h5py.File(exported / "weights.hdf5") as file:
        assert file["embedding"].shape == (len(words), 8) and "b" in file["softmax"]
    files = [exported / "options.json", exported / "weights.hdf5", again]
    ended = run_command(monkeypatch, capsys, "elmo-import", *files, "--vocab-file", exported / "vocab.txt")
    assert (ended.status, ended.out) == (0, f"wrote {again}\n") and "no softmax" not in ended.err
    ours, theirs = weights_of(archive), weights_of(again)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_tagger_gets_the_vectors_of_words_that_its_own_text_lacks_without_the_bilms_archive(
    trained: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "bilm.tar.gz"
    archive.write_bytes((trained / "out" / "model.tar.gz").read_bytes())
    (tmp_path / "tagged.conllu").write_text(TAGGED, encoding="utf-8")
    model = json.loads((trained / "out" / "config.json").read_text())["model"]
    options = {key: model[key] for key in ("lstm", "bidirectional", "share_embedding_softmax")}
    size = weights_of(archive)["token_encoder.embedding"].shape[0]
    config = {
        "dataset_reader": {
            "type": "conll_tags",
            "token_indexers": {"elmo": {"type": "bilm_words", "vocab_file": str(archive)}},
        },
        "train_data_path": str(tmp_path / "tagged.conllu"),
        "model": {
            "type": "simple_tagger",
            "text_field_embedder": {
                "token_embedders": {
                    "elmo": {
                        "type": "bilm",
                        "options": {**options, "n_tokens_vocab": size},
                        "pretrained_file": str(archive),
                    }
                }
            },
            "encoder": {"type": "pass_through", "input_dim": 16},
        },
        "data_loader": {"batch_size": 2},
        "trainer": {"num_epochs": 1, "cuda_device": -1, "optimizer": "adam", "enable_default_callbacks": False},
    }
    train_model(Params(config), str(tmp_path / "out"))
    bilm = load_archive(archive).model
    archive.unlink()
    loaded = load_archive(tmp_path / "out" / "model.tar.gz")
    tagger, reader = loaded.model.eval(), loaded.dataset_reader
    vectors = {}
    for word in ("mill", "knows", "cellar", "<UNK>"):
        batch = Batch([reader.text_to_instance([word])])
        batch.index_instances(tagger.vocab)
        ids = batch.as_tensor_dict()["tokens"]
        assert ids["elmo"]["tokens"].item() == bilm.vocab.get_token_index(word)
        with torch.no_grad():
            vectors[word] = tagger.text_field_embedder(ids)[0, 0]
    assert torch.equal(vectors["cellar"], vectors["<UNK>"])
    assert not torch.equal(vectors["knows"], vectors["<UNK>"]) and not torch.equal(vectors["knows"], vectors["mill"])
