"""Archives that AllenNLP's pretraining writes: what is read from them, and which are refused."""

import json

import pytest
import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.archive import WEIGHTS_PREFIX, read_archive
from allennlp_elmo_plus.formats.parameters import fill_parameters
from allennlp_elmo_plus.formats.pretrained import load_language_model
from allennlp_elmo_plus.modules.build import build_encoder, build_language_model, language_model_shapes
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from tests.helpers.small_archives import (
    WORDS,
    archived_files,
    member,
    saved,
    small_model,
    write_archive,
)
from tests.helpers.small_encoders import BASE, VARIANTS, variants

TIED = {"lstm": BASE["lstm"], "share_embedding_softmax": True}


@pytest.fixture
def temporary_directory(tmp_path, monkeypatch):
    """Make temporary files in a directory that must be empty after the test."""
    directory = tmp_path / "temporary"
    directory.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    yield directory
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("options", [BASE, TIED])
def test_an_archive_gives_options_words_and_weights(tmp_path, temporary_directory, options):
    archived = read_archive(write_archive(tmp_path / "model.tar.gz", archived_files(options)))
    assert archived.options == BiLMOptions.from_dict({**options, "n_tokens_vocab": 6}, inference=False)
    assert archived.vocabulary == WORDS
    expected = small_model(options).state_dict()
    assert archived.weights.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(archived.weights[name], value), name


def test_names_may_begin_with_the_current_directory_and_other_files_are_ignored(tmp_path, temporary_directory):
    files = {f"./{name}": content for name, content in archived_files().items()}
    path = write_archive(tmp_path / "model.tar.gz", files, (member("notes/read.me", b"hello"),))
    assert read_archive(path).vocabulary == WORDS


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_floating_point_type_are_read(tmp_path, temporary_directory, dtype):
    state = {name: value.to(dtype) for name, value in small_model().state_dict().items()}
    path = write_archive(tmp_path / "model.tar.gz", {**archived_files(), "weights.th": saved(state)})
    loaded = load_language_model(path)
    assert (loaded.options.n_tokens_vocab, loaded.vocabulary) == (6, WORDS)
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, state[name].float()), name


@variants
def test_language_model_shapes_are_those_of_the_built_model(variant):
    options = BiLMOptions.from_dict({**BASE, **VARIANTS[variant]})
    model = build_language_model(options, 11)
    assert language_model_shapes(options, 11) == {
        name: tuple(value.shape) for name, value in model.state_dict().items()
    }


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e300])
def test_weights_that_are_not_finite_are_refused(tmp_path, temporary_directory, value):
    state = small_model().state_dict()
    state["bilm.forward_layers.1.bias"] = state["bilm.forward_layers.1.bias"].double()
    state["bilm.forward_layers.1.bias"][3] = value
    path = write_archive(tmp_path / "model.tar.gz", {**archived_files(), "weights.th": saved(state)})
    archived = read_archive(path)
    with pytest.raises(InputError) as error:
        fill_parameters(build_encoder(archived.options), archived.weights, "it", WEIGHTS_PREFIX)
    assert str(error.value) == (
        f"it: `language_model.bilm.forward_layers.1.bias` must hold finite numbers of float32, got {value}"
    )


def config(section, **values):
    return json.dumps({"model": {"type": "bilm", **BASE, section: {**BASE.get(section, {}), **values}}}).encode()


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("config.json", None, "holds no `config.json`"),
        ("weights.th", None, "holds no `weights.th`"),
        ("vocabulary/tokens.txt", None, "holds no `vocabulary/tokens.txt`"),
        ("config.json", b" " * (2**20 + 1), "its `config.json` must be at most 1,048,576 bytes, got 1,048,577"),
        ("config.json", b'{"model": import "/etc/passwd"}', "its `config.json`: must be JSON in UTF-8: "),
        ("config.json", b'{"model": std.extVar("HOME")}', "its `config.json`: must be JSON in UTF-8: "),
        ("config.json", b'{"model": {}, "model": {}}', "its `config.json`: the key 'model' comes twice"),
        ("config.json", b"[" * 10**5, "its `config.json`: must be JSON in UTF-8: "),
        ("config.json", b'{"model": ["bilm"]}', "its `config.json` must have a `model` of type `bilm`"),
        (
            "config.json",
            b'{"model": {"type": "antigravity.Model"}}',
            "its `config.json` must have a `model` of type `bilm`, as pretraining writes it",
        ),
        (
            "config.json",
            config("lstm", dim=10**12),
            "its `config.json`: `lstm.dim` must be a whole number from 1 to 65536, got 1000000000000",
        ),
        (
            "config.json",
            config("lstm", dim=65536, projection_dim=65536),
            "its `config.json`: the sizes must add up to at most 4,294,967,296 parameters, got ",
        ),
        (
            "config.json",
            json.dumps({"model": {"type": "bilm", **BASE, "n_tokens_vocab": 7}}).encode(),
            "`n_tokens_vocab` must be 6, the number of words in the vocabulary, got 7",
        ),
        ("vocabulary/tokens.txt", b"<S>\n</S>\n", "its `vocabulary/tokens.txt`: the vocabulary lacks <UNK>"),
        (
            "vocabulary/tokens.txt",
            b"<S>\n</S>\n<UNK>\nhen\n",
            "its `weights.th` `language_model.softmax.weight` must have shape (4, 5) by the options, got (6, 5)",
        ),
        ("weights.th", b"\0" * 2_000_000, "its `weights.th` must be at most 1,0"),
        (
            "weights.th",
            b"\0" * 2000,
            "its `weights.th` must be a whole file that `torch.save` wrote: File is not a zip",
        ),
    ],
)
def test_a_missing_or_wrong_file_of_an_archive_is_named(tmp_path, temporary_directory, name, content, message):
    files = {**archived_files(), name: content}
    path = write_archive(tmp_path / "model.tar.gz", {key: value for key, value in files.items() if value is not None})
    with pytest.raises(InputError) as error:
        read_archive(path)
    assert str(error.value).startswith(f"{path}: {message}")
    assert len(str(error.value).splitlines()) == 1


def test_a_file_that_is_not_an_archive_is_refused_by_name(tmp_path):
    (tmp_path / "plain").write_bytes(b"{}")
    for path, problem in (
        (tmp_path / "plain", "must be a whole model.tar.gz: Not a gzipped file (b'{}')"),
        (tmp_path, "cannot be read: Is a directory"),
        (tmp_path / "nowhere", "cannot be read: No such file or directory"),
    ):
        with pytest.raises(InputError) as error:
            read_archive(path)
        assert str(error.value) == f"{path}: {problem}"
