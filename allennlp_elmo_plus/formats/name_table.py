"""The table that maps the parameters of a biLM to the datasets of weights.hdf5."""

from dataclasses import dataclass
from typing import Optional

import numpy as np
import torch
from torch import Tensor

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.options.bilm_options import BiLMOptions


@dataclass(frozen=True)
class ParameterMapping:
    """One row of the table: a parameter and its dataset.

    A dataset and its parameter have the same shape, except for a convolution: (1, width, d, num) in the file and
    (num, d, width) in the parameter.

    Attributes:
        name: the parameter's name in a module with `token_encoder`, `bilm` and `softmax`.
        dataset: the path in the file.
        shape: the shape of the dataset.
        aliases: other paths at which some files hold the same weights.
    """

    name: str
    dataset: str
    shape: tuple[int, ...]
    aliases: tuple[str, ...] = ()

    @property
    def is_convolution(self) -> bool:
        """Return whether the parameter is the weight of a convolution."""
        return len(self.shape) == 4

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """Return the shape of the parameter."""
        return self.shape[:0:-1] if self.is_convolution else self.shape

    def to_file(self, parameter: Tensor) -> np.ndarray:
        """Return the values of the dataset, in single precision, as bilm-tf writes them."""
        values = parameter.detach().cpu().float().numpy()
        return np.ascontiguousarray(values.transpose(2, 1, 0)[None]) if self.is_convolution else values

    def to_parameter(self, values: np.ndarray) -> Tensor:
        """Return the values of the parameter, in the type of the dataset."""
        return torch.from_numpy(np.ascontiguousarray(values[0].transpose(2, 1, 0)) if self.is_convolution else values)


@dataclass(frozen=True)
class PlaceholderDataset:
    """A dataset for a part that the model does not have.

    AllenNLP's loader requires it. Its values, an identity matrix or a bias of zeros, have no effect. bilm-tf ignores it.
    """

    dataset: str
    shape: tuple[int, ...]

    def value(self) -> np.ndarray:
        """Return the identity matrix or the zeros, float32."""
        return np.eye(*self.shape, dtype=np.float32) if len(self.shape) == 2 else np.zeros(self.shape, np.float32)


def conversion_table(options: BiLMOptions, vocab_size: Optional[int] = None) -> list[ParameterMapping]:
    """Return the rows for all weights of a biLM with these options, except its softmax.

    Args:
        options: the options of the biLM.
        vocab_size: the number of rows of the word embedding; `options.n_tokens_vocab` where None. Only for word input.

    Raises:
        InputError: `options` has options that bilm-tf does not know, which are named; or the vocabulary's size is missing.
    """
    beyond = options.beyond_bilm_tf()
    if beyond:
        named = ", ".join(f"`{key}`" for key in beyond)
        raise InputError(f"weights.hdf5 has no place for a model with {named}, which bilm-tf does not know")
    lstm = options.lstm
    rows: list[ParameterMapping] = []
    if options.char_cnn is None:
        num_words = vocab_size or options.n_tokens_vocab
        if num_words is None:
            raise InputError("`n_tokens_vocab` must be given for word input")
        rows.append(ParameterMapping("token_encoder.embedding", "embedding", (num_words, lstm.projection_dim)))
    else:
        cnn = options.char_cnn
        filters = cnn.n_filters
        rows.append(ParameterMapping("token_encoder.cnn.embedding", "char_embed", (261, cnn.embedding_dim)))
        for index, (width, number) in enumerate(cnn.filters):
            convolution = (1, width, cnn.embedding_dim, number)
            rows.append(ParameterMapping(f"token_encoder.cnn.weights.{index}", f"CNN/W_cnn_{index}", convolution))
            rows.append(ParameterMapping(f"token_encoder.cnn.biases.{index}", f"CNN/b_cnn_{index}", (number,)))
        for index in range(cnn.n_highway):
            for kind in ("carry", "transform"):
                ours, theirs = f"token_encoder.highway.{kind}", f"CNN_high_{index}"
                rows.append(ParameterMapping(f"{ours}_weights.{index}", f"{theirs}/W_{kind}", (filters, filters)))
                rows.append(ParameterMapping(f"{ours}_biases.{index}", f"{theirs}/b_{kind}", (filters,)))
        if filters != lstm.projection_dim:
            shape = (filters, lstm.projection_dim)
            rows.append(ParameterMapping("token_encoder.projection_weight", "CNN_proj/W_proj", shape))
            rows.append(ParameterMapping("token_encoder.projection_bias", "CNN_proj/b_proj", (lstm.projection_dim,)))
    for direction, name in enumerate(("forward", "backward")[: 2 if options.bidirectional else 1]):
        for layer in range(lstm.n_layers):
            ours = f"bilm.{name}_layers.{layer}"
            gates = 4 * lstm.dim
            rows.append(_lstm_row(options, direction, layer, f"{ours}.kernel", "W_0", (2 * lstm.projection_dim, gates)))
            rows.append(_lstm_row(options, direction, layer, f"{ours}.bias", "B", (gates,)))
            if lstm.has_projection:
                shape = (lstm.dim, lstm.projection_dim)
                rows.append(_lstm_row(options, direction, layer, f"{ours}.projection", "W_P_0", shape))
    return rows


def softmax_table(options: BiLMOptions, vocab_size: int) -> list[ParameterMapping]:
    """Return the rows for the softmax over `vocab_size` words, which bilm-tf's own dump omits.

    They lie in a group `softmax`, which bilm-tf and AllenNLP ignore, with the names and shapes of bilm-tf's variables. With
    `share_embedding_softmax` the weight is the word embedding, so there is only a row for the bias.
    """
    rows = [ParameterMapping("softmax.bias", "softmax/b", (vocab_size,))]
    if not options.share_embedding_softmax:
        rows.insert(0, ParameterMapping("softmax.weight", "softmax/W", (vocab_size, options.lstm.projection_dim)))
    return rows


def placeholder_table(options: BiLMOptions) -> list[PlaceholderDataset]:
    """Return the datasets that AllenNLP's loader requires although a biLM with these options has no such part."""
    lstm, cnn = options.lstm, options.char_cnn
    rows: list[PlaceholderDataset] = []
    if cnn is not None and cnn.n_filters == lstm.projection_dim:
        rows += [
            PlaceholderDataset("CNN_proj/W_proj", (cnn.n_filters,) * 2),
            PlaceholderDataset("CNN_proj/b_proj", (cnn.n_filters,)),
        ]
    if not lstm.has_projection:
        for direction in range(2 if options.bidirectional else 1):
            for layer in range(lstm.n_layers):
                rows.append(PlaceholderDataset(f"{_cell(direction, layer)}/W_P_0", (lstm.dim, lstm.dim)))
    return rows


def _cell(direction: int, layer: int) -> str:
    return f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"


def _lstm_row(
    options: BiLMOptions, direction: int, layer: int, name: str, leaf: str, shape: tuple[int, ...]
) -> ParameterMapping:
    # bilm-tf's dump renames the variables below `RNN_0/rnn/`. A model of one direction has no `RNN_0` around its `rnn`, so its
    # variables keep the names of TensorFlow.
    tf_leaf = {"W_0": "kernel", "B": "bias", "W_P_0": "projection/kernel"}[leaf]
    scopes = [(f"RNN_{direction}/RNN", leaf)]
    if not options.bidirectional:
        scopes += [("RNN", leaf), ("rnn", tf_leaf)]
    cells = [f"MultiRNNCell/Cell{layer}/LSTMCell"] + (["LSTMCell"] if options.lstm.n_layers == 1 else [])
    paths = [f"{scope}/{cell}/{end}" for scope, end in scopes for cell in cells]
    return ParameterMapping(name, paths[0], shape, tuple(paths[1:]))
