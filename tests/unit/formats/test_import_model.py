import json
import tarfile
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from allennlp.data import Token
from allennlp.models.archival import load_archive
from allennlp.modules.elmo import Elmo, batch_to_ids
from allennlp.predictors import Predictor

import allennlp_elmo_plus.plugin  # noqa: F401
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import write_weights
from allennlp_elmo_plus.formats.export import export_model
from allennlp_elmo_plus.formats.import_model import ImportedModel, import_model, write_archive
from allennlp_elmo_plus.formats.name_table import placeholder_table
from allennlp_elmo_plus.modules.build import build_language_model
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.plugin.modules.token_embedders.bilm_token_embedder import BilmTokenEmbedder
from tests.helpers.small_encoders import VARIANTS, edit, options_of, random_encoder

FIXTURES = Path(__file__).resolve().parents[3] / "fixtures"
WORDS = ["</S>", "<S>", "<UNK>", "the", "river", "rises", "mill", "turns", "and", "falls", "나비"]
MORE_VARIANTS = {
    "no skip connections": {"lstm": {"dim": 10, "projection_dim": 5, "n_layers": 2}},
    "tanh": {"char_cnn": {"activation": "tanh", "embedding": {"dim": 3}, "filters": [[1, 4], [2, 6]]}},
    "one layer, unwrapped": VARIANTS["one layer"],
}


def write_files(directory: Path, variant: str) -> tuple[Path, Path, Path]:
    """Write options.json, weights.hdf5 and vocab.txt of a small encoder without a softmax, as bilm-tf does."""
    options = options_of(variant)
    mapping = options.to_dict()
    for clip in ("cell_clip", "proj_clip"):
        if mapping["lstm"][clip] is None:
            del mapping["lstm"][clip]
    write_weights(directory / "weights.hdf5", random_encoder(options), options)
    (directory / "options.json").write_text(json.dumps(mapping))
    (directory / "vocab.txt").write_text("".join(f"{word}\n" for word in WORDS), encoding="utf-8")
    return directory / "options.json", directory / "weights.hdf5", directory / "vocab.txt"


def archived(path: Path, imported: ImportedModel) -> Path:
    write_archive(path, imported, lambda num_bytes: nullcontext(lambda _: None))
    return path


@pytest.mark.parametrize("variant", [*VARIANTS, *MORE_VARIANTS])
def test_files_that_allennlps_loader_refuses_are_imported_too(tmp_path, monkeypatch, variant):
    for name, changes in MORE_VARIANTS.items():
        monkeypatch.setitem(VARIANTS, name, changes)
    options = options_of(variant)
    options_file, weight_file, vocab_file = write_files(tmp_path, variant)
    if variant == "one layer, unwrapped":
        for direction in range(2):
            wrapped = f"RNN_{direction}/RNN/MultiRNNCell/Cell0/LSTMCell"
            unwrapped = wrapped.replace("MultiRNNCell/Cell0/", "")
            edit(weight_file, lambda file, old=wrapped, new=unwrapped: file.move(old, new))
    if "no " in variant:
        # bilm-tf does not write placeholders for projections that a model does not have.
        names = [row.dataset for row in placeholder_table(options)]
        edit(weight_file, lambda file: [file.__delitem__(name) for name in names if name in file])
    imported = import_model(options_file, weight_file, vocab_file if options.char_cnn is None else None)
    assert not imported.has_softmax
    model = load_archive(archived(tmp_path / "imported.tar.gz", imported)).model
    expected = random_encoder(options).state_dict()
    expected.pop("boundary_ids", None)
    for name, value in expected.items():
        assert torch.equal(model.language_model.state_dict()[name], value), name
    assert (model.options.lstm, model.options.bidirectional) == (options.lstm, options.bidirectional)
    assert model.language_model.softmax.is_zero_initialized
    names = {"imported.tar.gz", "options.json", "vocab.txt", "weights.hdf5"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_softmax_is_imported(tmp_path, caplog):
    options = BiLMOptions.from_dict({**json.loads((FIXTURES / "options.json").read_text()), "n_tokens_vocab": None})
    torch.manual_seed(1)
    model = build_language_model(options, len(WORDS))
    imported = import_model(*export_model(model, options, WORDS, tmp_path))
    assert imported.has_softmax and imported.words == WORDS
    archive = load_archive(archived(tmp_path / "imported.tar.gz", imported))
    for name, value in model.state_dict().items():
        assert torch.equal(archive.model.language_model.state_dict()[name], value), name
    assert archive.model.vocab.get_token_index("<S>") == 2
    scores = Predictor.from_archive(archive).predict_json({"sentence": "the river"})
    assert scores["perplexity"] != pytest.approx(len(WORDS))
    assert "no softmax" not in caplog.text


@pytest.fixture(scope="module")
def archive_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the archive of the files in `fixtures/`, which other programs than this package wrote."""
    imported = import_model(FIXTURES / "options.json", FIXTURES / "weights.hdf5")
    return archived(tmp_path_factory.mktemp("imported") / "model.tar.gz", imported)


def test_vectors_are_those_of_allennlp(archive_file):
    elmo = Elmo(str(FIXTURES / "options.json"), str(FIXTURES / "weights.hdf5"), 1, dropout=0).eval()
    embedder = BilmTokenEmbedder(archive_file=str(archive_file)).eval()
    ids = batch_to_ids([["The", "harbour", "froze"], ["나비"]])
    expected = elmo(ids)["elmo_representations"][0]
    torch.testing.assert_close(embedder(ids), expected, rtol=0, atol=1e-5)


def test_the_archive_holds_what_allennlp_expects_and_no_more(archive_file):
    with tarfile.open(archive_file) as archive:
        assert sorted(archive.getnames()) == [
            "config.json",
            "vocabulary",
            "vocabulary/non_padded_namespaces.txt",
            "vocabulary/tokens.txt",
            "weights.th",
        ]
    reader = load_archive(archive_file).dataset_reader
    assert reader.text_to_instance(["a"])["source"].tokens[1] == Token("a")


def test_the_indexer_reads_as_many_characters_as_the_model(tmp_path):
    mapping = json.loads((FIXTURES / "options.json").read_text())
    mapping["char_cnn"]["max_characters_per_token"] = 20
    (tmp_path / "options.json").write_text(json.dumps(mapping))
    path = archived(tmp_path / "model.tar.gz", import_model(tmp_path / "options.json", FIXTURES / "weights.hdf5"))
    archive = load_archive(path)
    indexer, embedder = archive.dataset_reader.token_indexers["characters"], BilmTokenEmbedder(archive_file=str(path))
    assert indexer.max_characters_per_token == 20
    words = [Token("y" * 18 + tail) for tail in ("abc", "xyz")] + [Token("y" * 17 + "z")]
    ids = indexer.tokens_to_indices(words, archive.model.vocab)
    vectors = embedder.eval()(torch.tensor(ids["elmo_tokens"]).unsqueeze(1))
    assert torch.equal(vectors[0], vectors[1]) and not torch.equal(vectors[0], vectors[2])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"vocab_file": None}, "`--vocab-file` must be given: .* has a word embedding"),
        ({"vocab_file": "short.txt"}, "short.txt: must have 11 words, as the word embedding has, got 3"),
        ({"weight_file": "no.hdf5"}, "no.hdf5: there is no such file or directory"),
        ({"options_file": "no.json"}, "no.json: there is no such file or directory"),
        ({"options_file": "vocab.txt"}, "vocab.txt: must be JSON in UTF-8"),
        ({"options_file": "characters/options.json"}, "weights.hdf5: dataset `char_embed` is missing; expected shape"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, changes, message):
    write_files(tmp_path, "words")
    (tmp_path / "characters").mkdir()
    write_files(tmp_path / "characters", "usual")
    (tmp_path / "short.txt").write_text("<S>\n</S>\n<UNK>\n")
    names = {"options_file": "options.json", "weight_file": "weights.hdf5", "vocab_file": "vocab.txt", **changes}
    with pytest.raises(InputError, match=message):
        import_model(**{argument: None if name is None else tmp_path / name for argument, name in names.items()})
