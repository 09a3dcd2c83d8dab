"""The token embedder `bilm`."""

import logging
from typing import Any, Optional

import torch
from allennlp.common.checks import ConfigurationError
from allennlp.common.file_utils import cached_path
from allennlp.modules.scalar_mix import ScalarMix
from allennlp.modules.token_embedders import TokenEmbedder

from allennlp_elmo_plus.core.bilm import BiLMState
from allennlp_elmo_plus.core.options import BiLMOptions
from allennlp_elmo_plus.core.pretrained import load_encoder
from allennlp_elmo_plus.core.token_embeddings import read_token_embeddings
from allennlp_elmo_plus.plugin.known_options import KnownOptions

logger = logging.getLogger(__name__)


@TokenEmbedder.register("bilm")
class BilmTokenEmbedder(KnownOptions, TokenEmbedder):
    """
    A learned mix of a biLM's layers for each word (ELMo, Peters et al. 2018, section 3.2).

    Registered as a `TokenEmbedder` with name "bilm". A drop-in for AllenNLP's "elmo_token_embedder": the same arguments
    and, to rounding, the same vectors as a fresh one, except that a sentence's vectors do not depend on the sentences
    before it unless `stateful` asks for that. With tokens indexed by "elmo_characters" or "bilm_characters"; for a biLM
    of word input by "single_id", with a vocabulary whose ids are those of pretraining.

    The biLM comes from exactly one of: `options_file` with `weight_file`; `archive_file`; `options`. With `options` the
    archive of a model that uses this embedder can be loaded where the files of pretraining are gone: AllenNLP drops
    `pretrained_file` when it loads an archive, and takes the weights from the archive itself.

    # Parameters

    options_file : `str`, optional
        An options.json. A path or a URL, like the other files.
    weight_file : `str`, optional
        The weights.hdf5 that goes with it.
    do_layer_norm : `bool`, optional (default = `False`)
        Whether `ScalarMix` normalises each layer, with one mean and variance for the batch.
    dropout : `float`, optional (default = `0.5`)
        Of the mixed vectors, before the projection.
    requires_grad : `bool`, optional (default = `False`)
        Whether to train every weight of the biLM. Frozen, the vectors of up to 65,536 words met are kept (see
        `WordVectorCache`).
    projection_dim : `int`, optional
        The width to project the vectors to.
    vocab_to_cache : `List[str]`, optional
        Words whose vectors to keep from the first batch on. A word not among them is encoded from its characters, where
        AllenNLP may fail. `word_inputs`, if given, are places in this list.
    scalar_mix_parameters : `List[float]`, optional
        Fixed weights of the layers, before the softmax.
    archive_file : `str`, optional
        A model.tar.gz that pretraining the model "bilm" left.
    keep_sentence_boundaries : `bool`, optional (default = `False`)
        Whether to keep the vectors of `<S>` and `</S>`, so that a sentence has two more than words.
    stateful : `bool`, optional (default = `False`)
        Whether each row starts with the LSTM state in which the batch before left it, as bilm-tf and AllenNLP's
        `ElmoLstm` have it: the same sentence then gets other vectors each time.
    options : `Dict[str, Any]`, optional
        The content of an options.json; in jsonnet, `import "options.json"`.
    pretrained_file : `str`, optional
        With `options`: the weights, a weights.hdf5 or a model.tar.gz. Left out, they start at random and are to come
        from the archive of the model.
    token_embedding_file : `str`, optional
        Vectors of words, written by `allennlp elmo-cache` from this biLM. While the biLM is frozen, words in it are not
        encoded from their characters. Not with `vocab_to_cache`.
    """

    def __init__(
        self,
        options_file: Optional[str] = None,
        weight_file: Optional[str] = None,
        do_layer_norm: bool = False,
        dropout: float = 0.5,
        requires_grad: bool = False,
        projection_dim: Optional[int] = None,
        vocab_to_cache: Optional[list[str]] = None,
        scalar_mix_parameters: Optional[list[float]] = None,
        archive_file: Optional[str] = None,
        keep_sentence_boundaries: bool = False,
        stateful: bool = False,
        options: Optional[dict[str, Any]] = None,
        pretrained_file: Optional[str] = None,
        token_embedding_file: Optional[str] = None,
    ) -> None:
        super().__init__()
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
            parsed = BiLMOptions.from_file(cached_path(options_file))
        elif options is not None:
            parsed = BiLMOptions.from_dict(options, "`options`")
        weights = weight_file or archive_file or pretrained_file
        if weights is None:
            logger.warning("no `pretrained_file`: the biLM's weights are random until those of an archive are loaded")
        self._encoder = load_encoder(parsed, None if weights is None else cached_path(weights))
        for parameter in self._encoder.parameters():
            parameter.requires_grad_(requires_grad)
        self._mix = ScalarMix(
            self._encoder.num_layers,
            do_layer_norm=do_layer_norm,
            initial_scalar_parameters=scalar_mix_parameters,
            trainable=scalar_mix_parameters is None,
        )
        self._dropout = torch.nn.Dropout(dropout)
        self._projection = torch.nn.Linear(self._encoder.output_size, projection_dim) if projection_dim else None
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
            table = read_token_embeddings(cached_path(token_embedding_file))
            self._encoder.cache_words(table.words, table.vectors)

    def get_output_dim(self) -> int:
        return self._encoder.output_size if self._projection is None else self._projection.out_features

    def forward(
        self,
        elmo_tokens: Optional[torch.Tensor] = None,
        word_inputs: Optional[torch.Tensor] = None,
        tokens: Optional[torch.Tensor] = None,
    ) -> torch.Tensor:
        """
        # Parameters

        elmo_tokens : `torch.Tensor`, optional
            Shape `(B, T, C)`: character ids, 0 where there is no word. Any dimensions before are taken as more rows.
        word_inputs : `torch.Tensor`, optional
            Shape `(B, T)`: the place of each word in `vocab_to_cache`, to be used instead of its characters; those of a
            word with 0, or a place beyond the list, are used, and without `vocab_to_cache` those of every word.
        tokens : `torch.Tensor`, optional
            Shape `(B, T)`: instead of `elmo_tokens` where the biLM takes words, ids of the vocabulary, 0 where there is
            no word.

        # Returns

        `torch.Tensor`
            Shape `(B, T, K)`, or `(B, T + 2, K)` with sentence boundaries; zeros where there is no word, before any
            projection.
        """
        ids = self._ids(elmo_tokens, word_inputs, tokens)
        num_leading = ids.dim() - (1 if self._encoder.max_characters is None else 2)
        rows = ids.flatten(0, num_leading - 1)
        representation = self._encoder(rows, self._state if self._stateful else None)
        if self._stateful:
            self._state = representation.state.detach()
        layers, layout = representation.layers, representation.layout
        # Mixed where there are words only, so that a masked mean needs no mask.
        mixed = self._mix(layers, torch.ones_like(layers[0][:, 0], dtype=torch.bool))
        vectors = self._dropout(layout.unpack(mixed, self._keep_sentence_boundaries))
        if self._projection is not None:
            vectors = self._projection(vectors)
        return vectors.view(*ids.shape[:num_leading], *vectors.shape[1:])

    def _ids(
        self, elmo_tokens: Optional[torch.Tensor], word_inputs: Optional[torch.Tensor], tokens: Optional[torch.Tensor]
    ) -> torch.Tensor:
        name, ids = ("tokens", tokens) if self._encoder.max_characters is None else ("elmo_tokens", elmo_tokens)
        if ids is None:
            raise ConfigurationError(f"`{name}` must be given to this biLM, got none")
        if word_inputs is None or self._characters_to_cache is None:
            return ids
        self._characters_to_cache = self._characters_to_cache.to(ids.device)
        listed = (word_inputs > 0) & (word_inputs < len(self._characters_to_cache))
        characters = self._characters_to_cache[word_inputs * listed].to(ids.dtype)
        return torch.where(listed.unsqueeze(-1), characters, ids)
