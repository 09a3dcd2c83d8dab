"""The module `BilmRepresentations`: word vectors of one biLM in several mixes of its layers."""

import logging
from typing import Any, Optional

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.modules.scalar_mix import ScalarMix
from overrides import overrides

from allennlp_elmo_plus.formats.model_files import ModelSource, local_path
from allennlp_elmo_plus.formats.pretrained import load_encoder
from allennlp_elmo_plus.formats.token_embeddings import read_token_embeddings
from allennlp_elmo_plus.kernels.precision import check_precision
from allennlp_elmo_plus.modules.bilm import BiLMState
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.options.many_langs_options import parse_options
from allennlp_elmo_plus.plugin.strict_from_params import StrictFromParams

logger = logging.getLogger(__name__)

# Beside a 1, the softmax of this number is exactly 0 in every precision.
_NO_WEIGHT = -9e10


class BilmRepresentations(StrictFromParams, torch.nn.Module):
    """Learned mixes of a biLM's layers for each word (ELMo, Peters et al. 2018, section 3.2), over one run of the biLM.

    A drop-in for AllenNLP's `Elmo` in a model of your own: the same arguments in the same order, the same names of the mixes'
    parameters (`scalar_mix_0`, ...), the same result and, to rounding, the same vectors as a fresh one, except that a sentence's
    vectors do not depend on earlier sentences unless `stateful` is true. It has no `module`. A constructor that annotates an
    argument with this class gets it from a config.

    The biLM comes from exactly one of: `options_file` with `weight_file`; `archive_file`; `options`. With `options` the archive of
    a model that uses this module can be loaded after the files of pretraining were deleted: when AllenNLP loads an archive, it
    drops `pretrained_file` and takes the weights from the archive.

    A mix is gamma * (s_0 layer_0 + ... + s_L layer_L), computed by AllenNLP's `ScalarMix`. bilm-tf's `weight_layers` is equal,
    since its softmax of W + 1/n is that of W, except for layer normalisation: bilm-tf takes mean and variance without `<S>` and
    `</S>`, AllenNLP and this module with them. For bilm-tf's penalty on W use AllenNLP's regularizer "l2" on
    `scalar_mix_.*scalar_parameters`.

    Args:
        options_file: an options.json; a path or a URL, like the other files.
        weight_file: the weights.hdf5 that belongs to it.
        num_output_representations: the number of mixes, each with weights of its own.
        requires_grad: whether to train every weight of the biLM. Of a frozen biLM the vectors of up to 65,536 words are cached, see
            `WordVectorCache`.
        do_layer_norm: whether `ScalarMix` normalises each layer, with one mean and variance for the batch.
        dropout: on the mixed vectors.
        vocab_to_cache: words whose vectors are computed once, before the first batch. Other words are encoded from their
            characters, where AllenNLP may fail. `word_inputs` are positions in this list.
        keep_sentence_boundaries: whether to keep the vectors of `<S>` and `</S>`, so that a sentence has two more than words.
        scalar_mix_parameters: fixed weights of the layers, before the softmax; gamma is 1 then.
        archive_file: the model.tar.gz of a pretrained model "bilm", or a biLM of another kind in `docs/convert.md` that brings its
            options: a directory, a zip, or a directory of bilm-tf's training.
        stateful: whether each row starts in the state in which the last batch left it, as in bilm-tf and AllenNLP's `ElmoLstm`: the
            same sentence then gets other vectors each time.
        options: the content of an options.json, or of a config of ELMoForManyLangs; in jsonnet, `import "options.json"`.
        pretrained_file: with `options`, the weights: a weights.hdf5, or what `archive_file` can be. By default they are random,
            until those of the archive of the model are loaded.
        use_top_only: whether the top layer replaces the mix, as in bilm-tf: only gamma is learned.
        use_average: whether the plain average of the layers replaces the mix: only gamma is learned.
        use_gamma: whether to learn gamma; otherwise it is 1.
        token_embedding_file: vectors of words that `elmo-plus cache` wrote from this biLM. While the biLM is frozen, words in
            it are not encoded from their characters. Excludes `vocab_to_cache`.
        precision: "fp32", or "bf16" for the biLM's matrix products in bfloat16, on a GPU or a processor with instructions for them. The
            mix, and all else of the model, stay in float32.
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
        precision: str = "fp32",
    ) -> None:
        super().__init__()
        if num_output_representations < 1:
            raise ConfigurationError(
                f"`num_output_representations` must be at least 1, got {num_output_representations}"
            )
        self._encoder = _load_encoder(options_file, weight_file, archive_file, options, pretrained_file)
        self._encoder.precision = check_precision(precision)
        self._encoder.requires_grad_(requires_grad)
        self._num_mixes = num_output_representations
        for number in range(num_output_representations):
            mix = _make_mix(
                self._encoder.num_layers, do_layer_norm, scalar_mix_parameters, use_top_only, use_average, use_gamma
            )
            self.add_module(f"scalar_mix_{number}", mix)
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
        """Return K, the width of every representation."""
        return self._encoder.output_size

    @property
    def takes_word_ids(self) -> bool:
        """Return whether the biLM takes words, and not their characters."""
        return not self._encoder.token_encoder.word_shape

    # torch's base class takes any arguments.
    @overrides(check_signature=False)
    def forward(self, inputs: torch.Tensor, word_inputs: Optional[torch.Tensor] = None) -> dict[str, Any]:
        """Return the representations of each word.

        Args:
            inputs: (B, T, C), character ids, 0 where there is no word; where the biLM takes words, (B, T) ids of its vocabulary; for a
                model of ELMoForManyLangs, (B, T, R) ids of its dictionaries. Further leading dimensions count as rows.
            word_inputs: (B, T), the position of each word in `vocab_to_cache`, which is then used in place of its characters. The
                characters of a word at position 0 or beyond the list, and without `vocab_to_cache` of every word, are used.

        Returns:
            `elmo_representations`: `num_output_representations` tensors (B, T, K), zeros where there is no word. `mask`: (B, T),
            bool, True at words. With sentence boundaries T is two more.
        """
        ids = self._ids(inputs, word_inputs)
        leading = ids.shape[: -1 if self.takes_word_ids else -2]
        representation = self._encoder(ids.flatten(0, len(leading) - 1), self._state if self._stateful else None)
        if self._stateful:
            self._state = representation.state.detach()
        layers, layout = representation.layers, representation.layout
        # Packed vectors hold words only, so that no mean needs a mask.
        everywhere = torch.ones_like(layers[0][:, 0], dtype=torch.bool)

        def padded(packed: torch.Tensor) -> torch.Tensor:
            vectors = layout.unpack(packed, self._keep_sentence_boundaries)
            return vectors.view(*leading, *vectors.shape[1:])

        return {
            "elmo_representations": [
                self._dropout(padded(getattr(self, f"scalar_mix_{number}")(layers, everywhere)))
                for number in range(self._num_mixes)
            ],
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
    names = [name for name, value in sources.items() if value is not None]
    if len(names) != 1:
        raise ConfigurationError(
            "exactly one of `options_file` (with `weight_file`), `archive_file` and `options` must be given, "
            f"got {' and '.join(f'`{name}`' for name in names) or 'none'}"
        )
    for name, value, partner in (
        ("weight_file", weight_file, "options_file"),
        ("pretrained_file", pretrained_file, "options"),
    ):
        if value is not None and names != [partner]:
            raise ConfigurationError(f"`{name}` goes with `{partner}`, got `{names[0]}`")
    if options_file is not None and weight_file is None:
        raise ConfigurationError("`weight_file` must be given with `options_file`")
    path = options_file or archive_file or pretrained_file
    if path is None:
        logger.warning("no `pretrained_file`: the biLM's weights are random until those of an archive are loaded")
    return load_encoder(
        None if options is None else parse_options(options, "`options`"),
        None if path is None else ModelSource(path, weight_file),
    )


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
    chosen = [f"`{name}`" for name, is_chosen in choices.items() if is_chosen]
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
