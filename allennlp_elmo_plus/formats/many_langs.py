"""Read a model of ELMoForManyLangs (44 languages, 2018) from its directory.

| File | Content |
|---|---|
| `config.json` | names the config of the architecture by `config_path` |
| `word.dic`, `char.dic` | lines `token TAB id` |
| `token_embedder.pkl`, `encoder.pkl` | state dicts that `torch.save` wrote, mostly in its format before zip files |
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Optional

import torch
from torch import Tensor

from allennlp_elmo_plus.data.text.many_langs import PADDING, ManyLangsIndexer
from allennlp_elmo_plus.data.text.text_files import decode_lines
from allennlp_elmo_plus.data.text.vocabulary import MAX_VOCABULARY_BYTES, read_vocabulary_bytes
from allennlp_elmo_plus.errors import InputError, truncated_repr
from allennlp_elmo_plus.formats.model_files import unpacked_zip
from allennlp_elmo_plus.formats.parameters import fill_parameters
from allennlp_elmo_plus.modules.build import build_many_langs_encoder
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.options.many_langs_options import ManyLangsOptions, config_name
from allennlp_elmo_plus.storage.json_file import read_json_mapping
from allennlp_elmo_plus.storage.torch_weights import read_legacy_state

CONFIG, WORDS, CHARACTERS = "config.json", "word.dic", "char.dic"
TOKEN_EMBEDDER, ENCODER = "token_embedder.pkl", "encoder.pkl"

# The token of a line that holds an id alone: the program strips its lines, and U+3000 is white space.
_STRIPPED_TOKEN = "\u3000"

# bilm-tf's order of the gates is i, g, f, o; that of AllenNLP's cell, which the program uses, is i, f, g, o.
_GATE_ORDER = (0, 2, 1, 3)
_FORGET_GATE = 2


class ManyLangsModel(NamedTuple):
    """A model of ELMoForManyLangs as its files hold it."""

    source: str
    options: ManyLangsOptions
    vocabulary: ManyLangsIndexer
    weights: dict[str, Tensor]  # by their names in a BiLMEncoder

    def build_encoder(self) -> BiLMEncoder:
        """Return the biLM. An InputError is raised where a weight is not finite."""
        words, characters = self.vocabulary.words or (), self.vocabulary.characters or ()
        boundary_ids = self.vocabulary.ids(self.vocabulary.boundaries)
        encoder = build_many_langs_encoder(self.options, len(words), len(characters), boundary_ids)
        fill_parameters(encoder, self.weights, self.source)
        return encoder


def is_many_langs(path: Path) -> bool:
    """Return whether `path` is a directory with a model of ELMoForManyLangs."""
    return all((path / name).is_file() for name in (CONFIG, TOKEN_EMBEDDER, ENCODER))


def read_many_langs(directory: Path) -> ManyLangsModel:
    """Return the model in `directory`, which may come from an untrusted source.

    Only files of the directory are read. Everything is checked against the config and the dictionaries before a weight is read.

    Raises:
        InputError: a file is missing or damaged, does not fit the others, or the model is of another architecture.
    """
    options = read_options(directory)
    vocabulary, padding_row = _read_vocabulary(directory, options)
    num_words, num_characters = len(vocabulary.words or ()), len(vocabulary.characters or ())
    token_embedder = _read_state(directory / TOKEN_EMBEDDER, _token_embedder_shapes(options, num_words, num_characters))
    encoder = _read_state(directory / ENCODER, _encoder_shapes(options))
    weights = {**_token_encoder_weights(token_embedder, options, padding_row), **_bilm_weights(encoder, options)}
    return ManyLangsModel(str(directory), options, vocabulary, weights)


def read_options(directory: Path) -> ManyLangsOptions:
    """Return the options of the model in `directory`: of the file that `config_path` names, or of the one that is shipped.

    `config_path` is often a path on the machine of the training. Only its last part is used, and only in `directory`.

    Raises:
        InputError: there is no such file, or it describes no model of this kind.
    """
    path = directory / CONFIG
    mapping = read_json_mapping(path)
    if "encoder" not in mapping:
        try:
            named = directory / config_name(mapping)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        if named != path and named.is_file():
            path, mapping = named, read_json_mapping(named)
    return ManyLangsOptions.from_dict(mapping, str(path))


def read_vocabulary(path: Path) -> ManyLangsIndexer:
    """Return the dictionaries of the model in `path`, a directory or a zip of one.

    Raises:
        InputError: a file is missing or damaged.
    """
    if path.is_dir():
        return _read_vocabulary(path, read_options(path))[0]
    with unpacked_zip(path) as directory:
        return _read_vocabulary(directory, read_options(directory))[0]


def _read_vocabulary(directory: Path, options: ManyLangsOptions) -> tuple[ManyLangsIndexer, int]:
    """Return the dictionaries, and the id of the padding character in the file.

    Raises:
        InputError: see `read_vocabulary`.
    """
    words = _read_dictionary(directory / WORDS) if options.word_dim else None
    characters, padding_row = None, 0
    if options.char_dim:
        characters = _read_dictionary(directory / CHARACTERS)
        if PADDING not in characters:
            raise InputError(f"{directory / CHARACTERS}: must hold {PADDING}")
        padding_row = characters.index(PADDING)
        characters.append(characters.pop(padding_row))
    try:
        return ManyLangsIndexer(words, characters, options.max_characters), padding_row
    except InputError as error:
        raise InputError(f"{directory}: of the dictionaries, {error}") from None


def _read_dictionary(path: Path) -> list[str]:
    """Return the tokens in the file `path` in the order of their ids.

    Raises:
        InputError: the file cannot be read, is over 256 MiB or no UTF-8, a token is there twice, or the ids are not 0, 1, 2, ...
    """
    data = read_vocabulary_bytes(path)
    if len(data) > MAX_VOCABULARY_BYTES:
        raise InputError(f"{path}: must be at most {MAX_VOCABULARY_BYTES:,} bytes, got more")
    lines = decode_lines(data, str(path), first_line=1)
    tokens: list[Optional[str]] = [None] * len(lines)
    for number, line in enumerate(lines, start=1):
        *rest, last = line.strip().split("\t")
        row = int(last) if last.isascii() and last.isdecimal() and len(last) < 10 else len(lines)
        if len(rest) > 1 or row >= len(lines) or tokens[row] is not None:
            raise InputError(
                f"{path}, line {number}: must be a token, a tab and an id below {len(lines)} that no other line has, "
                f"got {truncated_repr(line)}"
            )
        tokens[row] = rest[0] if rest else _STRIPPED_TOKEN
    if len(set(tokens)) != len(tokens):
        raise InputError(f"{path}: must hold each token once, got {len(tokens) - len(set(tokens))} twice")
    return [token for token in tokens if token is not None]


def _read_state(path: Path, shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    try:
        return read_legacy_state(path, shapes)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def _token_embedder_shapes(
    options: ManyLangsOptions, num_words: int, num_characters: int
) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor in `token_embedder.pkl`."""
    shapes: dict[str, tuple[int, ...]] = {}
    width = options.word_dim
    if options.word_dim:
        shapes["word_emb_layer.embedding.weight"] = (num_words, options.word_dim)
    if options.char_dim:
        shapes["char_emb_layer.embedding.weight"] = (num_characters, options.char_dim)
        for index, (filter_width, number) in enumerate(options.filters):
            shapes[f"convolutions.{index}.weight"] = (number, options.char_dim, filter_width)
            shapes[f"convolutions.{index}.bias"] = (number,)
        num_filters = sum(number for _, number in options.filters)
        for index in range(options.n_highway):
            shapes[f"highways._layers.{index}.weight"] = (2 * num_filters, num_filters)
            shapes[f"highways._layers.{index}.bias"] = (2 * num_filters,)
        width += num_filters
    shapes["projection.weight"] = (options.projection_dim, width)
    shapes["projection.bias"] = (options.projection_dim,)
    return shapes


def _token_encoder_weights(state: dict[str, Tensor], options: ManyLangsOptions, padding_row: int) -> dict[str, Tensor]:
    """Return the tensors of `token_embedder.pkl` as the weights of a `WordAndCharacterEncoder`."""
    weights = {
        "projection_weight": state["projection.weight"].t(),
        "projection_bias": state["projection.bias"],
    }
    if options.word_dim:
        weights["words.embedding"] = state["word_emb_layer.embedding.weight"]
    if options.char_dim:
        rows = state["char_emb_layer.embedding.weight"]
        weights["characters.cnn.embedding"] = torch.cat(
            [rows[:padding_row], rows[padding_row + 1 :], rows[padding_row : padding_row + 1]]
        )
        for index in range(len(options.filters)):
            weights[f"characters.cnn.weights.{index}"] = state[f"convolutions.{index}.weight"]
            weights[f"characters.cnn.biases.{index}"] = state[f"convolutions.{index}.bias"]
        for index in range(options.n_highway):
            for kind in ("weight", "bias"):
                # The gate of AllenNLP's layer lets the input through, and lies after the transformed value.
                transform, gate = state[f"highways._layers.{index}.{kind}"].chunk(2)
                plural = {"weight": "weights", "bias": "biases"}[kind]
                weights[f"characters.highway.transform_{plural}.{index}"] = transform.t()
                weights[f"characters.highway.carry_{plural}.{index}"] = -gate.t()
    return {f"token_encoder.{name}": weight for name, weight in weights.items()}


def _encoder_shapes(options: ManyLangsOptions) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor in `encoder.pkl`."""
    gates, width = 4 * options.dim, options.projection_dim
    shapes: dict[str, tuple[int, ...]] = {}
    for prefix in (f"{name}_layer_{layer}" for name in ("forward", "backward") for layer in range(options.n_layers)):
        shapes[f"{prefix}.input_linearity.weight"] = (gates, width)
        shapes[f"{prefix}.state_linearity.weight"] = (gates, width)
        shapes[f"{prefix}.state_linearity.bias"] = (gates,)
        shapes[f"{prefix}.state_projection.weight"] = (width, options.dim)
    return shapes


def _bilm_weights(state: dict[str, Tensor], options: ManyLangsOptions) -> dict[str, Tensor]:
    """Return the tensors of `encoder.pkl` as the weights of a `BiLM` of `LstmLayer`s."""
    weights: dict[str, Tensor] = {}
    for direction in ("forward", "backward"):
        for layer in range(options.n_layers):
            theirs, ours = f"{direction}_layer_{layer}", f"bilm.{direction}_layers.{layer}"
            linear = [state[f"{theirs}.{part}_linearity.weight"] for part in ("input", "state")]
            weights[f"{ours}.kernel"] = _reorder_gates(torch.cat(linear, dim=1)).t()
            bias = _reorder_gates(state[f"{theirs}.state_linearity.bias"])
            bias.view(4, -1)[_FORGET_GATE] -= 1
            weights[f"{ours}.bias"] = bias
            weights[f"{ours}.projection"] = state[f"{theirs}.state_projection.weight"].t()
    return weights


def _reorder_gates(values: Tensor) -> Tensor:
    gates: Sequence[Tensor] = values.chunk(4)
    return torch.cat([gates[gate] for gate in _GATE_ORDER])
