"""Options -> modules with initial weights: the builder that decides which parts a biLM has."""

import dataclasses
from typing import Optional, Union

import numpy as np
import torch

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.modules.bilm import BiLM
from allennlp_elmo_plus.modules.char_cnn import CharacterCNN
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.modules.highway import Highway
from allennlp_elmo_plus.modules.language_model import LanguageModel
from allennlp_elmo_plus.modules.recurrent.cells import CELLS
from allennlp_elmo_plus.modules.recurrent.lstm import LstmLayer
from allennlp_elmo_plus.modules.softmax import SoftmaxLayer
from allennlp_elmo_plus.modules.token_encoder import CharacterEncoder, WordEncoder
from allennlp_elmo_plus.modules.word_and_character_encoder import WordAndCharacterEncoder
from allennlp_elmo_plus.options.bilm_options import BiLMOptions, CharacterOptions, LstmOptions
from allennlp_elmo_plus.options.many_langs_options import ManyLangsOptions


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
    bilm = _build_bilm(options.lstm, options.bidirectional, options.dropout)
    token_encoder = _build_token_encoder(options.char_cnn, options.lstm, vocab_size, options.sample_softmax)
    softmax = SoftmaxLayer(vocab_size, options.lstm.projection_dim)
    if options.share_embedding_softmax and isinstance(token_encoder, WordEncoder):
        softmax.weight = token_encoder.embedding
    return LanguageModel(token_encoder, bilm, softmax, options.dropout, options.sample_softmax)


def build_encoder(options: BiLMOptions, boundary_ids: tuple[int, int] = (0, 1)) -> BiLMEncoder:
    """Return a biLM as a source of word vectors, with initial weights. Options of the training alone have no effect: no dropout.

    For word input, `boundary_ids` are the lines of `<S>` and `</S>` in its vocabulary.

    Raises:
        InputError: `n_tokens_vocab` is missing for word input.
    """
    bilm = _build_bilm(options.lstm, options.bidirectional, dropout_prob=0.0)
    token_encoder = _build_token_encoder(options.char_cnn, options.lstm, options.n_tokens_vocab, sparse_embedding=False)
    token_encoder.reset_parameters()
    bilm.reset_parameters()
    max_characters = None if options.char_cnn is None else options.char_cnn.max_characters
    return BiLMEncoder(token_encoder, bilm, max_characters, boundary_ids)


def build_many_langs_encoder(
    options: ManyLangsOptions, num_words: int = 0, num_characters: int = 0, boundary_ids: Optional[np.ndarray] = None
) -> BiLMEncoder:
    """Return a biLM of ELMoForManyLangs as a source of word vectors, with initial weights.

    Args:
        options: The options of the biLM.
        num_words: The words of its dictionary; with 0 the number comes from the state dict that is loaded.
        num_characters: Likewise, the characters.
        boundary_ids: The ids of `<bos>` and `<eos>`, (2, R); None where they come from the state dict that is loaded.
    """
    words = WordEncoder(num_words, options.word_dim) if options.word_dim else None
    characters = None
    if options.char_dim:
        cnn = CharacterCNN(
            options.char_dim, options.filters, options.activation, options.max_characters, num_characters
        )
        highway = Highway(cnn.num_filters, options.n_highway) if options.n_highway else None
        characters = CharacterEncoder(cnn, highway, projection_dim=None)
    width = options.projection_dim
    forward, backward = (
        # Unlike bilm-tf, ELMoForManyLangs also projects where `projection_dim` is not below `dim`.
        [LstmLayer(width, options.dim, width, options.cell_clip, options.proj_clip) for _ in range(options.n_layers)]
        for _ in range(2)
    )
    token_encoder, bilm = WordAndCharacterEncoder(words, characters, width), BiLM(forward, backward)
    token_encoder.reset_parameters()
    bilm.reset_parameters()
    if boundary_ids is None:
        boundary_ids = np.zeros((2, *token_encoder.word_shape), dtype=np.int64)
    return BiLMEncoder(token_encoder, bilm, None, boundary_ids)


# The parts below serve pretraining and downstream models. So they take the sections, which describe the trained model, not the options
# as a whole: an option of the training alone is an argument, which `build_encoder` sets to the value without effect.


def _build_bilm(lstm: LstmOptions, bidirectional: bool, dropout_prob: float) -> BiLM:
    layer_class = CELLS[lstm.cell_key]
    num_backward = lstm.n_layers if bidirectional else 0
    forward, backward = ([layer_class.from_options(lstm) for _ in range(num)] for num in (lstm.n_layers, num_backward))
    return BiLM(forward, backward, lstm.use_skip_connections, dropout_prob)


def _build_token_encoder(
    cnn: Optional[CharacterOptions], lstm: LstmOptions, vocab_size: Optional[int], sparse_embedding: bool
) -> Union[CharacterEncoder, WordEncoder]:
    width = lstm.projection_dim
    if cnn is None:
        if vocab_size is None:
            raise InputError("`n_tokens_vocab` must be given for word input")
        return WordEncoder(vocab_size, width, sparse=sparse_embedding)
    highway = Highway(cnn.n_filters, cnn.n_highway) if cnn.n_highway else None
    convolutions = CharacterCNN(cnn.embedding_dim, cnn.filters, cnn.activation, cnn.max_characters)
    return CharacterEncoder(convolutions, highway, width if cnn.n_filters != width else None)
