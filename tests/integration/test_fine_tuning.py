"""Fine-tuning: AllenNLP continues the training of a pretrained biLM on other text."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from allennlp.commands.train import train_model
from allennlp.common import Params
from allennlp.data import Vocabulary
from allennlp.models.archival import load_archive
from allennlp.training.optimizers import Optimizer

import allennlp_elmo_plus.plugin  # noqa: F401
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.export import export_model
from allennlp_elmo_plus.modules.build import build_language_model
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.plugin.data.vocabulary import words_of
from tests.helpers.bilm_data import make_data, make_model
from tests.helpers.bilm_tf_directories import write_training_directory
from tests.helpers.small_text import (
    SENTENCES,
    small_config,
    small_model_config,
    write_text,
)

# Some words occur in the old text, some are new.
NEW_SENTENCES = [
    line.split()
    for line in """
the cellar floods when the river rises .
in spring the cook waits for flour .
no flour no bread says the cook .
the cook and the miller sleep in summer .
when the cook wakes the cellar stands dry .
""".strip().splitlines()
]


def config_of(directory: Path, **model: Any) -> dict[str, Any]:
    config = small_config(directory)
    config["train_data_path"] = str(write_text(directory / "other.txt", NEW_SENTENCES * 8))
    config["validation_data_path"] = str(write_text(directory / "other_heldout.txt", NEW_SENTENCES))
    config["model"] |= model
    return config


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("old")
    train_model(Params(small_config(directory)), str(directory / "out"))
    return directory / "out" / "model.tar.gz"


@pytest.fixture(scope="module")
def new_vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    return make_data(tmp_path_factory.mktemp("new"), NEW_SENTENCES).vocabulary


def test_known_words_keep_their_rows_of_the_softmax_and_new_words_get_fresh_rows(
    old: Path, new_vocabulary: Vocabulary, caplog
) -> None:
    with caplog.at_level(logging.INFO):
        model = make_model(new_vocabulary, pretrained_file=str(old))
    archive, fresh = load_archive(old).model, make_model(new_vocabulary)
    assert torch.equal(
        model.language_model.bilm.backward_layers[1].kernel, archive.language_model.bilm.backward_layers[1].kernel
    )
    old_rows = {word: row for row, word in enumerate(words_of(archive.vocab))}
    num_known = 0
    for row, word in enumerate(words_of(new_vocabulary)):
        is_known = word in old_rows
        num_known += is_known
        source, source_row = (archive, old_rows[word]) if is_known else (fresh, row)
        for name in ("weight", "bias"):
            expected = getattr(source.language_model.softmax, name)[source_row]
            assert torch.equal(getattr(model.language_model.softmax, name)[row], expected), word
    num_words = len(words_of(new_vocabulary))
    assert 3 < num_known < num_words
    assert (
        f"starting from {old}: {num_known} of {num_words} rows carried over by word, {num_words - num_known} fresh"
        in caplog.text
    )


def test_exported_files_initialize_a_model_as_their_archive_does(
    old: Path, new_vocabulary: Vocabulary, tmp_path: Path
) -> None:
    archive = load_archive(old).model
    files = export_model(archive.language_model, archive.options, words_of(archive.vocab), tmp_path)
    from_export = make_model(new_vocabulary, pretrained_file=str(files.weights)).state_dict()
    from_archive = make_model(new_vocabulary, pretrained_file=str(old)).state_dict()
    assert all(torch.equal(from_export[name], value) for name, value in from_archive.items())


def test_with_the_vocabulary_of_the_archive_all_weights_are_those_of_the_archive(old: Path) -> None:
    vocabulary = Vocabulary.from_params(Params({"type": "bilm", "vocab_file": str(old)}), instances=[])
    archive = load_archive(old).model
    assert words_of(vocabulary) == words_of(archive.vocab)
    model = make_model(vocabulary, pretrained_file=str(old))
    assert all(torch.equal(value, archive.state_dict()[name]) for name, value in model.state_dict().items())


def test_the_archive_of_a_fine_tuned_model_loads_without_the_old_archive(old: Path, tmp_path: Path) -> None:
    copied = tmp_path / "old.tar.gz"
    copied.write_bytes(old.read_bytes())
    tuned = train_model(Params(config_of(tmp_path, pretrained_file=str(copied))), str(tmp_path / "out"))
    copied.unlink()
    loaded = load_archive(tmp_path / "out" / "model.tar.gz").model
    assert "pretrained_file" in json.loads((tmp_path / "out" / "config.json").read_text())["model"]
    assert "cellar" in words_of(loaded.vocab)
    expected = tuned.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.state_dict().items())


def test_a_recovered_run_continues_from_its_checkpoint_not_from_the_old_model(old: Path, tmp_path: Path) -> None:
    config = config_of(tmp_path, pretrained_file=str(old))
    config["trainer"] |= {
        "checkpointer": {"type": "bilm", "keep_most_recent_by_count": None},
        "callbacks": [{"type": "bilm"}],
    }
    out = tmp_path / "out"
    train_model(Params(config).duplicate(), str(out))
    first, last = (torch.load(out / f"model_state_e{epoch}_b0.th", weights_only=True) for epoch in (1, 2))
    name = "language_model.bilm.forward_layers.0.kernel"
    assert not torch.equal(first[name], last[name])
    for path in (*out.glob("*_e2_b0.th"), out / "model.tar.gz"):
        path.unlink()
    train_model(Params(config).duplicate(), str(out), recover=True)
    recovered = torch.load(out / "model_state_e2_b0.th", weights_only=True)
    assert all(torch.equal(recovered[name], value) for name, value in last.items())


def test_options_of_another_model_are_refused_by_name(old: Path, new_vocabulary: Vocabulary) -> None:
    lstm = {**small_model_config()["lstm"], "cell_clip": 5}
    with pytest.raises(InputError, match="its options must be those of `options`: `lstm.cell_clip` 5, got 3$"):
        make_model(new_vocabulary, pretrained_file=str(old), lstm=lstm)
    with pytest.raises(InputError, match="nowhere.tar.gz: there is no such file"):
        make_model(new_vocabulary, pretrained_file="nowhere.tar.gz")


def test_a_pretrained_model_has_a_lower_perplexity_on_the_old_text_than_a_fresh_one(old: Path, tmp_path: Path) -> None:
    """Both are trained for one epoch with the old vocabulary."""
    perplexity = {}
    for name, model in (("fresh", {}), ("tuned", {"pretrained_file": str(old)})):
        (tmp_path / name).mkdir()
        config = config_of(tmp_path / name, **model)
        config["train_data_path"] = str(write_text(tmp_path / "text.txt", SENTENCES))
        config["validation_data_path"] = config["train_data_path"]
        config["vocabulary"] = {"type": "bilm", "vocab_file": str(old)}
        config["trainer"]["num_epochs"] = 1
        train_model(Params(config), str(tmp_path / name / "out"))
        metrics = json.loads((tmp_path / name / "out" / "metrics.json").read_text())
        perplexity[name] = metrics["validation_perplexity"]
    assert perplexity["tuned"] < perplexity["fresh"]


@pytest.mark.parametrize("has_same_words", [True, False])
def test_a_training_of_bilm_tf_continues_with_its_sums(
    new_vocabulary: Vocabulary, tmp_path: Path, caplog: pytest.LogCaptureFixture, has_same_words: bool
) -> None:
    options = BiLMOptions.from_dict(small_model_config(), inference=False)
    words = words_of(new_vocabulary)
    old_words = words if has_same_words else [*words[:-2], words[-1], words[-2]]
    torch.manual_seed(3)
    write_training_directory(tmp_path, build_language_model(options, len(words)), options, old_words)
    with caplog.at_level(logging.INFO):
        model = make_model(new_vocabulary, pretrained_file=str(tmp_path))
    assert f"{len(words)} of {len(words)} rows carried over by word, 0 fresh" in caplog.text
    assert ("with Adagrad's sums of squared gradients" in caplog.text) == has_same_words
    named = list(model.named_parameters())
    optimizer = Optimizer.from_params(Params({"type": "bilm"}), model_parameters=named)
    for name, parameter in named:
        sums = optimizer.state[parameter].get("sum")
        if has_same_words:
            torch.testing.assert_close(sums, 1 + parameter.detach() ** 2, msg=name)
        else:
            assert sums is None
