"""Options -> modules with initial weights: the builder that decides which parts a biLM has."""

import dataclasses
from typing import Union

import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.modules.bilm import BiLM
from allennlp_elmo_plus.modules.char_cnn import CharacterCNN
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.modules.highway import Highway
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.modules.recurrent.cells import CELLS
from allennlp_elmo_plus.modules.softmax import SoftmaxLayer
from allennlp_elmo_plus.modules.token_encoder import CharacterEncoder, WordEncoder
from allennlp_elmo_plus.options.bilm_options import BiLMOptions


def build_language_model(options: BiLMOptions, vocab_size: int) -> LanguageModel:
    """Return a biLM to pretrain, with a softmax over `vocab_size` words and initial weights from torch's own generator.

    With `share_embedding_softmax` the softmax's weight is the word embedding; its bias is not shared.

    Raises:
        InputError: `options.n_tokens_vocab` is another number of words, or the model has too many parameters.
    """
    model = _assemble_language_model(options, vocab_size)
    model.reset_parameters()
    return model


def language_model_shapes(options: BiLMOptions, vocab_size: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight of `build_language_model(options, vocab_size)` by name, without allocating the weights.

    It raises the same errors.
    """
    with torch.device("meta"):
        model = _assemble_language_model(options, vocab_size)
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def _assemble_language_model(options: BiLMOptions, vocab_size: int) -> LanguageModel:
    if options.n_tokens_vocab not in (None, vocab_size):
        raise InputError(
            f"`n_tokens_vocab` must be {vocab_size}, the number of words in the vocabulary, "
            f"got {options.n_tokens_vocab}"
        )
    options = dataclasses.replace(options, n_tokens_vocab=vocab_size)
    bilm = _build_bilm(options, options.dropout)
    token_encoder = _build_token_encoder(options, sparse_embedding=options.sample_softmax)
    softmax = SoftmaxLayer(vocab_size, options.lstm.projection_dim)
    if options.share_embedding_softmax and isinstance(token_encoder, WordEncoder):
        softmax.weight = token_encoder.embedding
    return LanguageModel(token_encoder, bilm, softmax, options.dropout, options.sample_softmax)


def build_encoder(options: BiLMOptions, boundary_ids: tuple[int, int] = (0, 1)) -> BiLMEncoder:
    """Return a biLM as a source of word vectors, without dropout, with initial weights.

    For word input, `boundary_ids` are the lines of `<S>` and `</S>` in its vocabulary.

    Raises:
        InputError: `n_tokens_vocab` is missing for word input.
    """
    bilm = _build_bilm(options, dropout_prob=0.0)
    token_encoder = _build_token_encoder(options, sparse_embedding=False)
    token_encoder.reset_parameters()
    bilm.reset_parameters()
    max_characters = None if options.char_cnn is None else options.char_cnn.max_characters
    return BiLMEncoder(token_encoder, bilm, max_characters, boundary_ids)


def _build_bilm(options: BiLMOptions, dropout_prob: float) -> BiLM:
    lstm = options.lstm
    layer_class = CELLS[lstm.cell_key]
    num_backward = lstm.n_layers if options.bidirectional else 0
    forward, backward = ([layer_class.from_options(lstm) for _ in range(num)] for num in (lstm.n_layers, num_backward))
    return BiLM(forward, backward, lstm.use_skip_connections, dropout_prob)


def _build_token_encoder(options: BiLMOptions, sparse_embedding: bool) -> Union[CharacterEncoder, WordEncoder]:
    width = options.lstm.projection_dim
    if options.char_cnn is None:
        if options.n_tokens_vocab is None:
            raise InputError("`n_tokens_vocab` must be given for word input")
        return WordEncoder(options.n_tokens_vocab, width, sparse=sparse_embedding)
    cnn = options.char_cnn
    highway = Highway(cnn.n_filters, cnn.n_highway) if cnn.n_highway else None
    convolutions = CharacterCNN(cnn.embedding_dim, cnn.filters, cnn.activation, cnn.max_characters)
    return CharacterEncoder(convolutions, highway, width if cnn.n_filters != width else None)
