"""The module `BilmRepresentations`: word vectors of one biLM in several mixes of its layers."""

import logging
from typing import Any, Optional

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.modules.scalar_mix import ScalarMix

from allennlp_elmo_plus.formats.model_files import local_path
from allennlp_elmo_plus.formats.pretrained import load_encoder
from allennlp_elmo_plus.formats.token_embeddings import read_token_embeddings
from allennlp_elmo_plus.modules.bilm import BiLMState
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams

logger = logging.getLogger(__name__)

# The softmax of it beside 1 is 0 exactly, in every precision.
_NO_WEIGHT = -9e10


class BilmRepresentations(StrictFromParams, torch.nn.Module):
    """Learned mixes of a biLM's layers for each word (ELMo, Peters et al. 2018, section 3.2): as many as a model has places for, with
    weights of their own, over one run of the biLM.

    A drop-in for AllenNLP's `Elmo` in a model of your own: the same arguments in the same order, the same names of the mixes'
    parameters (`scalar_mix_0`, ...), the same result and, to rounding, the same vectors as a fresh one, except that a sentence's
    vectors do not depend on the sentences before it unless `stateful` asks for that. It has no `module`. A constructor that
    annotates an argument with this class gets it from a config.

    The biLM comes from exactly one of: `options_file` with `weight_file`; `archive_file`; `options`. With `options` the archive
    of a model that uses this module can be loaded where the files of pretraining are gone: AllenNLP drops `pretrained_file`
    when it loads an archive, and takes the weights from the archive itself.

    A mix is gamma * (s_0 layer_0 + ... + s_L layer_L), computed by AllenNLP's `ScalarMix`. bilm-tf's `weight_layers` is the same,
    its softmax of W + 1/n being that of W, but for layer normalisation: bilm-tf takes mean and variance without `<S>` and `</S>`,
    AllenNLP and we with them. Its penalty on W is AllenNLP's regularizer "l2" on `scalar_mix_.*scalar_parameters`.

    # Parameters

    options_file : `str`, optional
        An options.json. A path or a URL, like the other files.
    weight_file : `str`, optional
        The weights.hdf5 that goes with it.
    num_output_representations : `int`, optional (default = `1`)
        How many mixes, each with weights of its own.
    requires_grad : `bool`, optional (default = `False`)
        Whether to train every weight of the biLM. Frozen, the vectors of up to 65,536 words met are kept (see `WordVectorCache`).
    do_layer_norm : `bool`, optional (default = `False`)
        Whether `ScalarMix` normalises each layer, with one mean and variance for the batch.
    dropout : `float`, optional (default = `0.5`)
        Of the mixed vectors.
    vocab_to_cache : `List[str]`, optional
        Words whose vectors to keep from the first batch on. A word not among them is encoded from its characters, where AllenNLP
        may fail. `word_inputs`, if given, are places in this list.
    keep_sentence_boundaries : `bool`, optional (default = `False`)
        Whether to keep the vectors of `<S>` and `</S>`, so that a sentence has two more than words.
    scalar_mix_parameters : `List[float]`, optional
        Fixed weights of the layers, before the softmax; gamma is 1 then.
    archive_file : `str`, optional
        A model.tar.gz that pretraining the model "bilm" left.
    stateful : `bool`, optional (default = `False`)
        Whether each row starts with the state in which the batch before left it, as bilm-tf and AllenNLP's `ElmoLstm` have it: the
        same sentence then gets other vectors each time.
    options : `Dict[str, Any]`, optional
        The content of an options.json; in jsonnet, `import "options.json"`.
    pretrained_file : `str`, optional
        With `options`: the weights, a weights.hdf5 or a model.tar.gz. Left out, they start at random and are to come from the
        archive of the model.
    use_top_only : `bool`, optional (default = `False`)
        The top layer in place of a mix, as in bilm-tf: nothing is learned but gamma.
    use_average : `bool`, optional (default = `False`)
        The plain average of the layers in place of a mix with learned weights: nothing is learned but gamma.
    use_gamma : `bool`, optional (default = `True`)
        Whether to learn gamma; else it is 1.
    token_embedding_file : `str`, optional
        Vectors of words that `allennlp elmo-cache` wrote from this biLM. While the biLM is frozen, words in it are not encoded
        from their characters. Not with `vocab_to_cache`.
    """

    def __init__(
        self,
        options_file: Optional[str] = None,
        weight_file: Optional[str] = None,
        num_output_representations: int = 1,
        requires_grad: bool = False,
        do_layer_norm: bool = False,
        dropout: float = 0.5,
        vocab_to_cache: Optional[list[str]] = None,
        keep_sentence_boundaries: bool = False,
        scalar_mix_parameters: Optional[list[float]] = None,
        archive_file: Optional[str] = None,
        stateful: bool = False,
        options: Optional[dict[str, Any]] = None,
        pretrained_file: Optional[str] = None,
        use_top_only: bool = False,
        use_average: bool = False,
        use_gamma: bool = True,
        token_embedding_file: Optional[str] = None,
    ) -> None:
        super().__init__()
        if num_output_representations < 1:
            raise ConfigurationError(
                f"`num_output_representations` must be at least 1, got {num_output_representations}"
            )
        self._encoder = _load_encoder(options_file, weight_file, archive_file, options, pretrained_file)
        for parameter in self._encoder.parameters():
            parameter.requires_grad_(requires_grad)
        self._mixes: list[ScalarMix] = []
        for number in range(num_output_representations):
            mix = _make_mix(
                self._encoder.num_layers, do_layer_norm, scalar_mix_parameters, use_top_only, use_average, use_gamma
            )
            self.add_module(f"scalar_mix_{number}", mix)
            self._mixes.append(mix)
        self._dropout = torch.nn.Dropout(dropout)
        self._keep_sentence_boundaries = keep_sentence_boundaries
        self._stateful = stateful
        # Not a buffer: DistributedDataParallel would send the first process's state to all.
        self._state: Optional[BiLMState] = None
        self._characters_to_cache: Optional[torch.Tensor] = None
        if vocab_to_cache:
            self._characters_to_cache = torch.from_numpy(self._encoder.cache_words(vocab_to_cache))
        if token_embedding_file is not None:
            if vocab_to_cache:
                raise ConfigurationError("`token_embedding_file` brings its own words, got `vocab_to_cache` too")
            table = read_token_embeddings(local_path(token_embedding_file))
            self._encoder.cache_words(table.words, table.vectors)

    def get_output_dim(self) -> int:
        """K, the width of every representation."""
        return self._encoder.output_size

    @property
    def takes_word_ids(self) -> bool:
        """Whether the biLM takes words, and not their characters."""
        return self._encoder.max_characters is None

    def forward(self, inputs: torch.Tensor, word_inputs: Optional[torch.Tensor] = None) -> dict[str, Any]:
        """# Parameters

        inputs : `torch.Tensor`
            Shape `(B, T, C)`: character ids, 0 where there is no word; where the biLM takes words, ids of the vocabulary `(B, T)`.
            Any dimensions before are taken as more rows.
        word_inputs : `torch.Tensor`, optional
            Shape `(B, T)`: the place of each word in `vocab_to_cache`, to be used instead of its characters; those of a word with
            0, or a place beyond the list, are used, and without `vocab_to_cache` those of every word.

        # Returns

        `Dict[str, Any]`
            `elmo_representations`: `num_output_representations` tensors `(B, T, K)`, zeros where there is no word; `mask`: `(B, T)`
            bool, True at words. With sentence boundaries T is two more.
        """
        ids = self._ids(inputs, word_inputs)
        leading = ids.shape[: -1 if self.takes_word_ids else -2]
        representation = self._encoder(ids.flatten(0, len(leading) - 1), self._state if self._stateful else None)
        if self._stateful:
            self._state = representation.state.detach()
        layers, layout = representation.layers, representation.layout
        # Mixed where there are words only, so that a masked mean needs no mask.
        everywhere = torch.ones_like(layers[0][:, 0], dtype=torch.bool)

        def padded(packed: torch.Tensor) -> torch.Tensor:
            vectors = layout.unpack(packed, self._keep_sentence_boundaries)
            return vectors.view(*leading, *vectors.shape[1:])

        return {
            "elmo_representations": [self._dropout(padded(mix(layers, everywhere))) for mix in self._mixes],
            "mask": padded(everywhere.unsqueeze(1)).squeeze(-1),
        }

    def _ids(self, inputs: torch.Tensor, word_inputs: Optional[torch.Tensor]) -> torch.Tensor:
        if word_inputs is None or self._characters_to_cache is None:
            return inputs
        self._characters_to_cache = self._characters_to_cache.to(inputs.device)
        listed = (word_inputs > 0) & (word_inputs < len(self._characters_to_cache))
        characters = self._characters_to_cache[word_inputs * listed].to(inputs.dtype)
        return torch.where(listed.unsqueeze(-1), characters, inputs)


def _load_encoder(
    options_file: Optional[str],
    weight_file: Optional[str],
    archive_file: Optional[str],
    options: Optional[dict[str, Any]],
    pretrained_file: Optional[str],
) -> BiLMEncoder:
    sources = {"options_file": options_file, "archive_file": archive_file, "options": options}
    given = [name for name, value in sources.items() if value is not None]
    if len(given) != 1:
        raise ConfigurationError(
            "exactly one of `options_file` (with `weight_file`), `archive_file` and `options` must be given, "
            f"got {' and '.join(f'`{name}`' for name in given) or 'none'}"
        )
    for name, value, partner in (
        ("weight_file", weight_file, "options_file"),
        ("pretrained_file", pretrained_file, "options"),
    ):
        if value is not None and given != [partner]:
            raise ConfigurationError(f"`{name}` goes with `{partner}`, got `{given[0]}`")
    if options_file is not None and weight_file is None:
        raise ConfigurationError("`weight_file` must be given with `options_file`")
    parsed: Optional[BiLMOptions] = None
    if options_file is not None:
        parsed = BiLMOptions.from_file(local_path(options_file))
    elif options is not None:
        parsed = BiLMOptions.from_dict(options, "`options`")
    weights = weight_file or archive_file or pretrained_file
    if weights is None:
        logger.warning("no `pretrained_file`: the biLM's weights are random until those of an archive are loaded")
    return load_encoder(parsed, None if weights is None else local_path(weights))


def _make_mix(
    num_layers: int,
    do_layer_norm: bool,
    scalar_mix_parameters: Optional[list[float]],
    use_top_only: bool,
    use_average: bool,
    use_gamma: bool,
) -> ScalarMix:
    choices = {
        "scalar_mix_parameters": scalar_mix_parameters is not None,
        "use_top_only": use_top_only,
        "use_average": use_average,
    }
    chosen = [f"`{name}`" for name, given in choices.items() if given]
    if len(chosen) > 1:
        raise ConfigurationError(
            f"at most one of {', '.join(f'`{name}`' for name in choices)} may be given, got {' and '.join(chosen)}"
        )
    if use_top_only and do_layer_norm:
        raise ConfigurationError("`do_layer_norm` must be left out with `use_top_only`, where bilm-tf has none either")
    fixed = scalar_mix_parameters
    if use_average:
        fixed = [0.0] * num_layers
    elif use_top_only:
        fixed = [_NO_WEIGHT] * (num_layers - 1) + [1.0]
    mix = ScalarMix(num_layers, do_layer_norm, fixed, trainable=fixed is None)
    mix.gamma.requires_grad_(use_gamma and scalar_mix_parameters is None)
    return mix
