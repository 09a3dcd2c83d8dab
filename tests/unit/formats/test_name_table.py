from allennlp_elmo_plus.formats.name_table import conversion_table, placeholder_table
from allennlp_elmo_plus.modules.build import build_encoder
from tests.helpers.small_encoders import options_of, variants


@variants
def test_the_table_has_one_row_for_each_parameter(variant):
    options = options_of(variant)
    table = conversion_table(options)
    shapes = {name: tuple(parameter.shape) for name, parameter in build_encoder(options).named_parameters()}
    assert {row.name: row.parameter_shape for row in table} == shapes
    paths = [row.dataset for row in table] + [row.dataset for row in placeholder_table(options)]
    assert len(set(paths)) == len(paths)


def test_the_paths_and_shapes_are_those_of_bilm_tf():
    table = conversion_table(options_of("usual"))
    shapes = {row.dataset: row.shape for row in table}
    expected = {
        "char_embed": (261, 3),
        "CNN/W_cnn_0": (1, 1, 3, 4),
        "CNN/b_cnn_0": (4,),
        "CNN/W_cnn_1": (1, 2, 3, 6),
        "CNN/b_cnn_1": (6,),
        "CNN_proj/W_proj": (10, 5),
        "CNN_proj/b_proj": (5,),
    }
    for layer in (0, 1):
        expected.update({f"CNN_high_{layer}/W_{kind}": (10, 10) for kind in ("carry", "transform")})
        expected.update({f"CNN_high_{layer}/b_{kind}": (10,) for kind in ("carry", "transform")})
        for direction in (0, 1):
            cell = f"RNN_{direction}/RNN/MultiRNNCell/Cell{layer}/LSTMCell"
            expected.update({f"{cell}/W_0": (10, 40), f"{cell}/B": (40,), f"{cell}/W_P_0": (10, 5)})
    assert shapes == expected
