import dataclasses
import json

import pytest

from allennlp_elmo_plus.data.text.vocabulary import read_vocabulary
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.export import allennlp_refusal, bilm_tf_refusal, export_model
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from tests.helpers.exportable_models import (
    FEW_CHARACTERS,
    FEW_FILTERS,
    NO_SKIP,
    ONE_DIRECTION,
    OPTIONS,
    USUAL,
    WORD_INPUT,
    WORDS,
    changed,
    trained,
)


def test_options_and_vocabulary_describe_the_model(tmp_path):
    directory = tmp_path / "new" / "directory"
    files = export_model(trained(USUAL), USUAL, WORDS, directory)
    mapping = json.loads(files.options.read_text())
    assert mapping["char_cnn"]["n_characters"] == 262
    assert mapping["n_tokens_vocab"] == len(WORDS)
    assert BiLMOptions.from_file(files.options) == dataclasses.replace(USUAL, n_tokens_vocab=len(WORDS))
    assert read_vocabulary(files.vocabulary) == WORDS
    assert sorted(path.name for path in directory.iterdir()) == ["options.json", "vocab.txt", "weights.hdf5"]


@pytest.mark.parametrize(
    "options, message",
    [
        (changed("lstm", cell="gru", cell_clip=None), "`lstm.cell` must be left out, as neither loader knows it"),
        (changed("lstm", layer_norm=True), "`lstm.layer_norm` must be left out, as neither loader knows it"),
        (ONE_DIRECTION, "`bidirectional` must be true, as it reads two directions$"),
        (
            changed("char_cnn", filters=[[1, 7]], max_characters_per_token=40),
            "for bilm-tf's loader `char_cnn.filters` must number at least `lstm.projection_dim`, which is 8, got 7; "
            "for AllenNLP's `char_cnn.max_characters_per_token` must be 50, the width of its indexer, got 40$",
        ),
        (
            BiLMOptions.from_dict({**OPTIONS, "char_cnn": None, "bidirectional": False}),
            "for bilm-tf's loader `bidirectional` must be true, .*; for AllenNLP's `char_cnn` must be given",
        ),
    ],
)
def test_a_model_that_neither_loader_can_load_is_refused(tmp_path, options, message):
    with pytest.raises(InputError, match=f"^cannot be exported: {message}"):
        export_model(trained(options), options, WORDS, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options, allennlp, bilm_tf",
    [
        (USUAL, None, None),
        (NO_SKIP, "`lstm.use_skip_connections` must be true", None),
        (WORD_INPUT, "`char_cnn` must be given, as it reads characters only", None),
        (FEW_CHARACTERS, "`char_cnn.max_characters_per_token` must be 50, the width of its indexer, got 40", None),
        (FEW_FILTERS, None, "`char_cnn.filters` must number at least `lstm.projection_dim`, which is 8, got 7"),
    ],
    ids=["usual", "no skip connections", "words", "40 characters", "few filters"],
)
def test_which_loader_can_load_a_model(options, allennlp, bilm_tf):
    assert (allennlp_refusal(options), bilm_tf_refusal(options)) == (allennlp, bilm_tf)


def test_a_directory_that_cannot_be_created_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: cannot be created: File exists"):
        export_model(trained(USUAL), USUAL, WORDS, tmp_path / "file")
