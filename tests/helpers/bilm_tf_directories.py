"""Write the directories in which bilm-tf trains: a TensorFlow checkpoint, options.json and a vocabulary."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Optional

import numpy as np

from allennlp_elmo_plus.data.text.vocabulary import write_vocabulary
from allennlp_elmo_plus.formats.name_table import conversion_table, softmax_table
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from tests.helpers.tensorflow_checkpoints import write_checkpoint


def write_training_directory(
    directory: Path,
    model: LanguageModel,
    options: BiLMOptions,
    words: Sequence[str],
    name: str = "model.ckpt-1",
    tensors: Optional[Mapping[str, np.ndarray]] = None,
) -> None:
    """Write the checkpoint `name` of `model`, or of `tensors`, without the file `checkpoint`."""
    write_checkpoint(directory / name, [tensors or tensors_of(model, options)])
    (directory / "options.json").write_text(json.dumps(options.to_dict(inference=False)))
    write_vocabulary(directory / "vocab.txt", words)


def tensors_of(model: LanguageModel, options: BiLMOptions) -> dict[str, np.ndarray]:
    """Return the variables of bilm-tf: the weights, for each a sum of Adagrad, which is 1 + weight**2, and others."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    num_words = len(model.softmax.bias)
    tensors = {"global_step": np.array(1, np.int64), "train_perplexity": np.array(0, np.float32)}
    for row in [*conversion_table(options, num_words), *softmax_table(options, num_words)]:
        name = _variable(row.dataset, options)
        tensors[name] = row.to_file(parameters[row.name])
        tensors[f"{name}/Adagrad"] = 1 + tensors[name] ** 2
    return tensors


def _variable(dataset: str, options: BiLMOptions) -> str:
    """Return the name of the variable whose dataset is called `dataset` in weights.hdf5."""
    if not dataset.startswith("RNN_"):
        return f"lm/{dataset}"
    scope, _, _, cell, _, leaf = dataset.split("/")
    parts = ["lm", *([scope] if options.bidirectional else []), "rnn"]
    if options.lstm.n_layers > 1:
        parts += ["multi_rnn_cell", f"cell_{cell.removeprefix('Cell')}"]
    return "/".join([*parts, "lstm_cell", {"W_0": "kernel", "B": "bias", "W_P_0": "projection/kernel"}[leaf]])
