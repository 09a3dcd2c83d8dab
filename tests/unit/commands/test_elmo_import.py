import json
import logging
from pathlib import Path

import h5py
import pytest
import torch
from allennlp.data import Token
from allennlp.models.archival import load_archive
from allennlp.modules.elmo import Elmo, batch_to_ids
from allennlp.predictors import Predictor

from allennlp_elmo_plus.formats.export import export_model
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.formats.pretrained import read_model
from allennlp_elmo_plus.integrations.hub import write_repository
from allennlp_elmo_plus.modules.build import build_language_model
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.plugin.modules.token_embedders.bilm_token_embedder import BilmTokenEmbedder
from tests.helpers.command_line import only_line
from tests.helpers.small_models import small_model, small_options
from tests.helpers.small_text import SENTENCES, write_text
from tests.helpers.stored_bilms import write_form

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"
FILES = (FIXTURES / "options.json", FIXTURES / "weights.hdf5")


@pytest.fixture
def archive(tmp_path) -> Path:
    return tmp_path / "imported.tar.gz"


def test_allennlp_loads_the_archive_with_the_same_vectors(archive, run):
    run("elmo-import", *FILES, archive)
    reader = load_archive(archive).dataset_reader
    assert reader.text_to_instance(["a"])["source"].tokens[1] == Token("a")
    ids = batch_to_ids([["The", "harbour", "froze"], ["나비"]])
    expected = Elmo(*map(str, FILES), 1, dropout=0).eval()(ids)["elmo_representations"][0]
    embedder = BilmTokenEmbedder(archive_file=str(archive)).eval()
    torch.testing.assert_close(embedder(ids), expected, rtol=0, atol=1e-5)


def test_the_indexer_reads_as_many_characters_as_the_model(archive, tmp_path, run):
    mapping = json.loads(FILES[0].read_text())
    mapping["char_cnn"]["max_characters_per_token"] = 20
    (tmp_path / "options.json").write_text(json.dumps(mapping))
    run("elmo-import", tmp_path / "options.json", FILES[1], archive)
    loaded = load_archive(archive)
    indexer = loaded.dataset_reader.token_indexers["characters"]
    assert indexer.max_characters_per_token == 20
    words = [Token("y" * 18 + tail) for tail in ("abc", "xyz")] + [Token("y" * 17 + "z")]
    ids = indexer.tokens_to_indices(words, loaded.model.vocab)
    embedder = BilmTokenEmbedder(archive_file=str(archive)).eval()
    vectors = embedder(torch.tensor(ids["elmo_tokens"]).unsqueeze(1))
    assert torch.equal(vectors[0], vectors[1]) and not torch.equal(vectors[0], vectors[2])


def test_a_softmax_gives_perplexities(archive, tmp_path, run, caplog):
    options = BiLMOptions.from_dict({**json.loads(FILES[0].read_text()), "n_tokens_vocab": None})
    words = ["</S>", "<S>", "<UNK>", "the", "river"]
    torch.manual_seed(1)
    files = export_model(build_language_model(options, len(words)), options, words, tmp_path)
    ended = run("elmo-import", files.options, files.weights, archive, "--vocab-file", files.vocabulary)
    assert ended.status == 0 and "no softmax" not in ended.err
    loaded = load_archive(archive)
    assert loaded.model.vocab.get_token_index("<S>") == 2
    scores = Predictor.from_archive(loaded).predict_json({"sentence": "the river"})
    assert scores["perplexity"] != pytest.approx(len(words))
    assert "no softmax" not in caplog.text


def test_a_missing_softmax_is_reported_at_import_and_at_evaluation(archive, tmp_path, run, caplog):
    ended = run("elmo-import", *FILES, archive)
    assert ended.status == 0 and ended.out == f"wrote {archive}\n" and "100%" in ended.err
    assert f"{FILES[1]} has no softmax: the archive gives word vectors and can be fine-tuned" in ended.err
    text, output = write_text(tmp_path / "text.txt", SENTENCES), tmp_path / "metrics.json"
    with caplog.at_level(logging.WARNING):
        ended = run("evaluate", archive, text, "--output-file", output)
    assert ended.status == 0
    # The perplexity of guessing among the words of the vocab.txt beside the weights.
    assert json.loads(output.read_text())["perplexity"] == pytest.approx(9)
    (record,) = [record for record in caplog.records if "this model has no softmax" in record.getMessage()]
    assert "those of guessing among its 9 words; fine-tune it first" in record.getMessage()


def test_a_shared_softmax_without_its_bias_counts_as_missing(archive, tmp_path, run):
    shared = {"char_cnn": None, "share_embedding_softmax": True}
    source = write_form(tmp_path, "export", small_model(**shared).float(), small_options(**shared))
    with h5py.File(source.path / "weights.hdf5", "a") as weights:
        del weights["softmax"]
    ended = run("elmo-import", source.path, archive)
    assert ended.status == 0 and "has no softmax" in ended.err
    assert read_model(ModelSource(archive)).missing_softmax == ["softmax.bias"]
    write_repository(archive, "user/elmo", tmp_path / "out")
    with h5py.File(tmp_path / "out" / "weights.hdf5") as weights:
        assert "softmax" not in weights and "embedding" in weights


def test_an_error_is_one_line_and_leaves_nothing(archive, tmp_path, run):
    ended = run("elmo-import", tmp_path / "absent.json", FILES[1], archive)
    assert ended.status == 1
    assert only_line(ended.err) == f"error: {tmp_path}/absent.json: there is no such file or directory"
    assert list(tmp_path.iterdir()) == []


def test_an_interruption_leaves_the_old_archive(archive, tmp_path, run, monkeypatch):
    archive.write_bytes(b"the old one")

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", interrupt)
    ended = run("elmo-import", *FILES, archive)
    assert ended.status == 130 and "interrupted: no file was changed" in ended.err
    assert archive.read_bytes() == b"the old one" and list(tmp_path.iterdir()) == [archive]
