"""Small language models, their options, and batches of sentences."""

from typing import Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.data.batching.batch import LanguageModelBatch
from allennlp_elmo_plus.data.batching.sentence_batch import batch_from_sentences
from allennlp_elmo_plus.data.batching.sentence_packing import unpack
from allennlp_elmo_plus.data.text.characters import BOS_WORD, EOS_WORD, encode_words
from allennlp_elmo_plus.kernels.lstm.reference import lstm as lstm_reference
from allennlp_elmo_plus.modules.build import build_language_model
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.modules.recurrent.layer import RecurrentOutput
from allennlp_elmo_plus.modules.recurrent.lstm import LstmLayer
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.options.cells import CELLS, LAYER_NORM

LSTM = {
    "dim": 9,
    "projection_dim": 5,
    "n_layers": 2,
    "cell_clip": 0.6,
    "proj_clip": 0.4,
    "use_skip_connections": True,
}
# The `lstm` section of the options of every cell, with and without projection.
RECURRENCES = {
    f"{key.replace(LAYER_NORM, ', layer norm')}, {width}": {
        **LSTM,
        "cell": key.removesuffix(LAYER_NORM),
        "layer_norm": key.endswith(LAYER_NORM),
        **dict.fromkeys(facts.refused),
        **sizes,
    }
    for key, facts in CELLS.items()
    for width, sizes in {"projected": {}, "not projected": {"dim": 5}}.items()
}
VOCABULARY = [BOS_WORD, EOS_WORD, "<UNK>", "the", "river", "rises", "and", "falls", "slowly", "mill", "turns", "."]


def small_options(**overrides: object) -> BiLMOptions:
    options = {
        "bidirectional": True,
        "char_cnn": {
            "embedding": {"dim": 3},
            "filters": [[1, 3], [2, 4]],
            "activation": "relu",
            "max_characters_per_token": 12,
            "n_highway": 1,
            "n_characters": 261,
        },
        "lstm": LSTM,
    }
    options.update(overrides)
    return BiLMOptions.from_dict(options, inference=False)


def small_model(seed: int = 0, **overrides: object) -> LanguageModel:
    torch.manual_seed(seed)
    return build_language_model(small_options(**overrides), len(VOCABULARY)).double()


def batch_of(sentences: list[list[str]], extra_padding: int = 0) -> LanguageModelBatch:
    """Return the batch of sentences given without boundaries, padded to the longest sentence plus `extra_padding`."""
    padded_length = max(map(len, sentences)) + 2 + extra_padding
    characters = torch.zeros(len(sentences), padded_length, 12, dtype=torch.int64)
    word_ids = torch.zeros(len(sentences), padded_length, dtype=torch.int64)
    mask = torch.zeros(len(sentences), padded_length, dtype=torch.bool)
    for row, sentence in enumerate(sentences):
        words = [BOS_WORD, *sentence, EOS_WORD]
        characters[row, : len(words)] = torch.from_numpy(encode_words(words, 12)).long()
        word_ids[row, : len(words)] = torch.tensor([VOCABULARY.index(w) if w in VOCABULARY else 2 for w in words])
        mask[row, : len(words)] = True
    return batch_from_sentences(characters, word_ids, mask)


def nlls_by_sentence(
    model: LanguageModel, batch: LanguageModelBatch
) -> list[tuple[list[float], Optional[list[float]]]]:
    """
    Return the exact negative log-likelihoods of each sentence's targets, (forward, backward). Sentences are in the caller's order,
    targets in the reading order of the direction.
    """
    result = model.exact_loss(batch)
    forward = unpack(result.forward_nll, batch.mask)
    backward = None if result.backward_nll is None else unpack(result.backward_nll, batch.mask)
    rows = {}
    for row, sentence in enumerate(batch.row_order.tolist()):
        length = int(batch.lengths[row])
        rows[sentence] = (
            forward[row, :length].tolist(),
            None if backward is None else backward[row, :length].tolist(),
        )
    return [rows[index] for index in range(len(rows))]


def run_reference(
    layer: LstmLayer, inputs: Tensor, batch_sizes: list[int], hidden: Tensor, cell: Tensor
) -> RecurrentOutput:
    """Return the result of `layer`, computed by the definition of its recurrence."""
    weights = layer.kernel, layer.bias_of_gates(), layer.projection
    return RecurrentOutput(
        *lstm_reference(batch_sizes, layer.cell_clip, layer.proj_clip, inputs, hidden, cell, *weights)
    )
