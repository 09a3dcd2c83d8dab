"""The layer class of each recurrent cell; `options.cells` has what options must know of it."""

from allennlp_elmo_plus.modules.recurrent.gru_rnn import GruLayer, RnnLayer
from allennlp_elmo_plus.modules.recurrent.layer import RecurrentLayer
from allennlp_elmo_plus.modules.recurrent.lstm import LstmLayer
from allennlp_elmo_plus.modules.recurrent.lstm_layer_norm import LayerNormLstmLayer
from allennlp_elmo_plus.options.bilm_options import LstmOptions

CELLS: dict[str, type[RecurrentLayer]] = {
    "lstm": LstmLayer,
    "lstm_layer_norm": LayerNormLstmLayer,
    "gru": GruLayer,
    "rnn": RnnLayer,
}


def build_layer(options: LstmOptions) -> RecurrentLayer:
    """Return a new layer of one direction with these options, its weights zero."""
    return CELLS[options.cell_key].from_options(options)
