import json
import shutil
import tarfile
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.archive import write_archive
from allennlp_elmo_plus.formats.bilm_tf_hdf5 import write_weights
from allennlp_elmo_plus.formats.export import export_model
from allennlp_elmo_plus.formats.model_files import ModelSource
from allennlp_elmo_plus.formats.name_table import placeholder_table
from allennlp_elmo_plus.formats.parameters import PretrainedModel
from allennlp_elmo_plus.formats.pretrained import load_language_model
from allennlp_elmo_plus.modules.build import build_language_model
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
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


def archived(path: Path, bilm: PretrainedModel) -> Path:
    write_archive(path, bilm, lambda num_bytes: nullcontext(lambda _: None))
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
    imported = load_language_model(ModelSource(options_file, weight_file, vocab_file))
    model, archived_options, _ = load_language_model(archived(tmp_path / "imported.tar.gz", imported))
    expected = random_encoder(options).state_dict()
    expected.pop("boundary_ids", None)
    for name, value in expected.items():
        assert torch.equal(model.state_dict()[name], value), name
    assert (archived_options.lstm, archived_options.bidirectional) == (options.lstm, options.bidirectional)
    assert model.has_untrained_softmax
    names = {"imported.tar.gz", "options.json", "vocab.txt", "weights.hdf5"}
    assert {path.name for path in tmp_path.iterdir()} == names


def test_a_softmax_is_imported(tmp_path):
    options = BiLMOptions.from_dict({**json.loads((FIXTURES / "options.json").read_text()), "n_tokens_vocab": None})
    torch.manual_seed(1)
    model = build_language_model(options, len(WORDS))
    imported = load_language_model(ModelSource(*export_model(model, options, WORDS, tmp_path)))
    assert imported.vocabulary == WORDS
    loaded = load_language_model(archived(tmp_path / "imported.tar.gz", imported))
    assert loaded.vocabulary == WORDS
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.model.state_dict()[name], value), name


def test_the_archive_holds_what_allennlp_expects_and_no_more(tmp_path):
    imported = load_language_model(FIXTURES)
    archive_file = archived(tmp_path / "model.tar.gz", imported)
    with tarfile.open(archive_file) as archive:
        assert sorted(archive.getnames()) == [
            "config.json",
            "vocabulary",
            "vocabulary/non_padded_namespaces.txt",
            "vocabulary/tokens.txt",
            "weights.th",
        ]


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"weight_file": "alone/weights.hdf5", "vocab_file": None},
            "weights.hdf5: needs its vocabulary, .* word embedding",
        ),
        ({"vocab_file": "short.txt"}, "short.txt: the vocabulary must have 11 words, as the biLM, got 3"),
        ({"weight_file": "no.hdf5"}, "no.hdf5: there is no such file or directory"),
        ({"path": "no.json"}, "no.json: there is no such file or directory"),
        ({"path": "vocab.txt"}, "vocab.txt: must be JSON in UTF-8"),
        ({"path": "characters/options.json"}, "weights.hdf5: dataset `char_embed` is missing; expected shape"),
    ],
)
def test_files_that_do_not_fit_are_refused(tmp_path, changes, message):
    write_files(tmp_path, "words")
    (tmp_path / "characters").mkdir()
    write_files(tmp_path / "characters", "usual")
    (tmp_path / "alone").mkdir()
    shutil.copy(tmp_path / "weights.hdf5", tmp_path / "alone")
    (tmp_path / "short.txt").write_text("<S>\n</S>\n<UNK>\n")
    names = {"path": "options.json", "weight_file": "weights.hdf5", "vocab_file": "vocab.txt", **changes}
    with pytest.raises(InputError, match=message):
        load_language_model(
            ModelSource(**{part: None if name is None else tmp_path / name for part, name in names.items()})
        )
