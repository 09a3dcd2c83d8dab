"""The initial value of every weight, bilm-tf's where it has one."""

import math
from collections.abc import Callable
from typing import Any, Optional, Union

import torch
from torch import Tensor, nn

from allennlp_elmo_plus.modules.char_cnn import CharacterCNN
from allennlp_elmo_plus.modules.highway import Highway
from allennlp_elmo_plus.modules.recurrent.gru_rnn import GruLayer, RnnLayer
from allennlp_elmo_plus.modules.recurrent.lstm import LstmLayer
from allennlp_elmo_plus.modules.recurrent.lstm_layer_norm import LayerNormLstmLayer
from allennlp_elmo_plus.modules.softmax import SoftmaxLayer
from allennlp_elmo_plus.modules.token_encoder import CharacterEncoder, WordEncoder

_CARRY_BIAS = -2.0
_RELU_BOUND = 0.05


def initialize_parameters(module: nn.Module, generator: Optional[torch.Generator] = None) -> None:
    """Gives every parameter below `module` the initial value bilm-tf gives it, drawn from `generator`, or torch's own
    where None. What bilm-tf does not have, the cells other than its LSTM, is drawn after the same rules.

    | Parameter | Value |
    |---|---|
    | character embedding | U(-1, 1) |
    | convolution | relu: U(-0.05, 0.05); tanh: N(0, 1 / (width * embedding_dim)) |
    | highway weights, n to n | N(0, 1 / n) |
    | carry bias | -2 |
    | projection of n filters | N(0, 1 / n) |
    | LSTM kernel and projection, word embedding | U(-b, b), b = sqrt(6 / (rows + columns)) (Glorot & Bengio 2010) |
    | GRU and RNN: both weights, taken for one kernel [x; h] of all gates, and projection | U(-b, b), likewise |
    | GRU: bias of the reset and the update gate | 1 (as in TensorFlow's `GRUCell`) |
    | layer normalisation: gains | 1 |
    | softmax weight, width D | N(0, 1 / D) |
    | every other bias | 0; the forget gate's 1 is added where the LSTM runs |

    N takes a variance. A word embedding that is also the softmax's weight is drawn as an embedding. Raises TypeError
    for a module with parameters of its own that the table does not know.
    """
    done: set[int] = set()

    def draw(parameter: Tensor, fill: Callable[[Tensor], Any]) -> None:
        if id(parameter) not in done:
            done.add(id(parameter))
            with torch.no_grad():
                fill(parameter)

    def uniform(bound: float) -> Callable[[Tensor], Any]:
        return lambda values: values.uniform_(-bound, bound, generator=generator)

    def normal(variance: float) -> Callable[[Tensor], Any]:
        return lambda values: values.normal_(0.0, math.sqrt(variance), generator=generator)

    def constant(value: float) -> Callable[[Tensor], Any]:
        return lambda values: values.fill_(value)

    def glorot(values: Tensor) -> Callable[[Tensor], Any]:
        return uniform(math.sqrt(6 / (values.shape[0] + values.shape[1])))

    def open_gates(size: int) -> Callable[[Tensor], Any]:
        """The bias of a reset and an update gate of `size`: both open, so that nothing is reset and nothing forgotten."""
        return lambda values: values.zero_()[: 2 * size].fill_(1.0)

    def character_cnn(cnn: CharacterCNN) -> None:
        draw(cnn.embedding, uniform(1.0))
        for weight, bias in zip(cnn.weights, cnn.biases, strict=True):
            _, dim, width = weight.shape
            draw(weight, uniform(_RELU_BOUND) if cnn.activation == "relu" else normal(1 / (width * dim)))
            draw(bias, constant(0.0))

    def highway(layers: Highway) -> None:
        for weight in [*layers.carry_weights, *layers.transform_weights]:
            draw(weight, normal(1 / len(weight)))
        for bias in layers.carry_biases:
            draw(bias, constant(_CARRY_BIAS))
        for bias in layers.transform_biases:
            draw(bias, constant(0.0))

    def character_encoder(encoder: CharacterEncoder) -> None:
        if encoder.projection_weight is not None and encoder.projection_bias is not None:
            draw(encoder.projection_weight, normal(1 / len(encoder.projection_weight)))
            draw(encoder.projection_bias, constant(0.0))

    def word_encoder(encoder: WordEncoder) -> None:
        draw(encoder.embedding, glorot(encoder.embedding))

    def lstm_layer(layer: LstmLayer) -> None:
        draw(layer.kernel, glorot(layer.kernel))
        draw(layer.bias, constant(0.0))
        if layer.projection is not None:
            draw(layer.projection, glorot(layer.projection))

    def layer_norm_lstm_layer(layer: LayerNormLstmLayer) -> None:
        lstm_layer(layer)
        for gain in (layer.input_gain, layer.recurrent_gain, layer.cell_gain):
            draw(gain, constant(1.0))
        draw(layer.cell_bias, constant(0.0))

    def hidden_state_layer(layer: Union[GruLayer, RnnLayer]) -> None:
        input_weight, hidden_weight, input_bias, hidden_bias = layer.recurrence.all_weights[0]
        bound = math.sqrt(6 / (layer.input_size + layer.hidden_size + len(input_bias)))
        draw(input_weight, uniform(bound))
        draw(hidden_weight, uniform(bound))
        draw(input_bias, open_gates(layer.hidden_size) if isinstance(layer, GruLayer) else constant(0.0))
        draw(hidden_bias, constant(0.0))
        if layer.projection is not None:
            draw(layer.projection, glorot(layer.projection))

    def softmax_layer(layer: SoftmaxLayer) -> None:
        draw(layer.weight, normal(1 / layer.weight.shape[1]))
        draw(layer.bias, constant(0.0))

    rules: dict[type[nn.Module], Callable[[Any], None]] = {
        CharacterCNN: character_cnn,
        Highway: highway,
        CharacterEncoder: character_encoder,
        WordEncoder: word_encoder,
        LstmLayer: lstm_layer,
        LayerNormLstmLayer: layer_norm_lstm_layer,
        GruLayer: hidden_state_layer,
        RnnLayer: hidden_state_layer,
        SoftmaxLayer: softmax_layer,
    }
    for part in module.modules():
        rule = rules.get(type(part))
        if rule is not None:
            rule(part)
    for name, parameter in module.named_parameters():
        if id(parameter) not in done:
            raise TypeError(f"no rule says how to initialise `{name}`")
