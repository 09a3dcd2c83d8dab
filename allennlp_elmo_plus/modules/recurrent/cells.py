"""The layer class of each recurrent cell; `options.cells` has what options must know of it."""

from allennlp_elmo_plus.modules.recurrent.gru_rnn import GruLayer, RnnLayer
from allennlp_elmo_plus.modules.recurrent.layer import RecurrentLayer
from allennlp_elmo_plus.modules.recurrent.lstm import LstmLayer
from allennlp_elmo_plus.modules.recurrent.lstm_layer_norm import LayerNormLstmLayer

CELLS: dict[str, type[RecurrentLayer]] = {
    "lstm": LstmLayer,
    "lstm_layer_norm": LayerNormLstmLayer,
    "gru": GruLayer,
    "rnn": RnnLayer,
}
