"""options.json: the description of a biLM that bilm-tf trains from, and that it and AllenNLP load weights with."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.options.cells import CELL_NAMES, CELLS, LAYER_NORM, cells_that_take
from allennlp_elmo_plus.options.mapping import (
    INFERENCE_CHARACTERS,
    N_CHARACTERS,
    TRAINING_CHARACTERS,
    check_characters,
    drop_unknown_keys,
    flatten,
    use_whole_numbers,
)
from allennlp_elmo_plus.options.rules import (
    Boolean,
    Choice,
    Filters,
    Integer,
    Number,
    option,
)
from allennlp_elmo_plus.storage.json_file import read_json_mapping

MAX_PARAMETERS = 2**32


@dataclass(frozen=True)
class CharacterOptions:
    """`char_cnn`: how a word's characters become its vector. Widths count character positions, begin and end of word
    included.
    """

    embedding_dim: int = option("char_cnn.embedding.dim", Integer(1, 4096))
    filters: tuple[tuple[int, int], ...] = option("char_cnn.filters", Filters(max_filters=64, max_number=65536))
    activation: str = option("char_cnn.activation", Choice("relu", "tanh"))
    max_characters: int = option("char_cnn.max_characters_per_token", Integer(3, 1024), default=50)
    n_highway: int = option("char_cnn.n_highway", Integer(0, 64), default=0)

    def __post_init__(self) -> None:
        _check_fields(self)
        object.__setattr__(self, "filters", tuple((width, number) for width, number in self.filters))
        widest = max(width for width, _ in self.filters)
        if widest > self.max_characters:
            raise InputError(
                f"`char_cnn.filters` must be no wider than the {self.max_characters} characters of "
                f"`char_cnn.max_characters_per_token`, got width {widest}"
            )

    @property
    def n_filters(self) -> int:
        """Width of the convolutions' joint output and of the highway layers."""
        return sum(number for _, number in self.filters)


@dataclass(frozen=True)
class LstmOptions:
    """`lstm`: `dim` is the size of the cell, `projection_dim` (D) that of each direction's output and input.

    bilm-tf does not have `cell`, a value of `options.cells.CELL_NAMES`, and `layer_norm`. A gated unit ("gru") and a simple
    recurrence ("rnn") have no memory cell to clip, and no form with layer normalisation.
    """

    dim: int = option("lstm.dim", Integer(1, 65536))
    projection_dim: int = option("lstm.projection_dim", Integer(1, 65536))
    n_layers: int = option("lstm.n_layers", Integer(1, 64), default=1)
    cell_clip: Optional[float] = option("lstm.cell_clip", Number(0, above=True), default=None)
    proj_clip: Optional[float] = option("lstm.proj_clip", Number(0, above=True), default=None)
    use_skip_connections: bool = option("lstm.use_skip_connections", Boolean(), default=False)
    cell: str = option("lstm.cell", Choice(*CELL_NAMES), default="lstm", in_bilm_tf=False)
    layer_norm: bool = option("lstm.layer_norm", Boolean(), default=False, in_bilm_tf=False)

    def __post_init__(self) -> None:
        _check_fields(self)
        for name in (*CELLS[self.cell].refused, "layer_norm"):
            cells = cells_that_take(name)
            if getattr(self, name) and self.cell not in cells:
                raise InputError(
                    f"`lstm.{name}` needs `lstm.cell` {' or '.join(cells)}: leave it out, got `lstm.cell` {self.cell}"
                )
        if self.projection_dim > self.dim:
            raise InputError(
                f"`lstm.projection_dim` must be at most `lstm.dim`, which is {self.dim}, got {self.projection_dim}"
            )

    @property
    def has_projection(self) -> bool:
        """bilm-tf projects only where that makes the output smaller."""
        return self.projection_dim < self.dim

    @property
    def cell_key(self) -> str:
        """Return the key of the recurrence in `options.cells.CELLS` and in `modules.recurrent.cells.CELLS`."""
        return self.cell + LAYER_NORM if self.layer_norm else self.cell

    def layer_parameter_count(self) -> int:
        """Return the number of parameters of one layer of one direction."""
        projection = self.dim * self.projection_dim if self.has_projection else 0
        return CELLS[self.cell_key].num_parameters(self.dim, self.projection_dim) + projection


@dataclass(frozen=True)
class BiLMOptions:
    """Every option of bilm-tf's options.json, with its meaning and its default, checked.

    `char_cnn` None means word input. `dropout` 0 is the default because released files, made for inference, leave it
    out; bilm-tf itself requires it to train. Options that only steer training are kept so that a file survives being
    read and written.

    Raises InputError for a value out of range, and for sizes that add up to more than MAX_PARAMETERS parameters.
    """

    lstm: LstmOptions
    char_cnn: Optional[CharacterOptions] = None
    bidirectional: bool = option("bidirectional", Boolean(), default=False)
    dropout: float = option("dropout", Number(0, below=1), default=0.0)
    n_tokens_vocab: Optional[int] = option("n_tokens_vocab", Integer(1, 2**31 - 1), default=None)
    batch_size: Optional[int] = option("batch_size", Integer(1, 2**20), default=None)
    unroll_steps: int = option("unroll_steps", Integer(1, 2**16), default=20)
    n_epochs: Optional[int] = option("n_epochs", Integer(0, 2**31 - 1), default=None)
    n_train_tokens: int = option("n_train_tokens", Integer(1, 2**63 - 1), default=768648884)
    all_clip_norm_val: Optional[float] = option("all_clip_norm_val", Number(0, above=True), default=None)
    n_negative_samples_batch: int = option("n_negative_samples_batch", Integer(1, 2**31 - 1), default=8192)
    sample_softmax: bool = option("sample_softmax", Boolean(), default=True)
    learning_rate: float = option("learning_rate", Number(0, above=True), default=0.2)
    share_embedding_softmax: bool = option("share_embedding_softmax", Boolean(), default=False)

    def __post_init__(self) -> None:
        _check_fields(self)
        if self.share_embedding_softmax and self.char_cnn is not None:
            raise InputError("`share_embedding_softmax` needs word input: leave it out, or leave out `char_cnn`")
        counts = self.parameter_counts()
        if sum(counts.values()) > MAX_PARAMETERS:
            largest = max(counts, key=lambda part: counts[part])
            raise InputError(
                f"the sizes must add up to at most {MAX_PARAMETERS:,} parameters, got {sum(counts.values()):,}, "
                f"of which {counts[largest]:,} through {largest}"
            )

    @classmethod
    def from_dict(
        cls, mapping: Mapping[str, Any], source: str = "options.json", inference: bool = True
    ) -> "BiLMOptions":
        """The options that `mapping` spells in bilm-tf's keys; a value of None counts as left out. `source` names it in
        errors.

        With `inference` the file is one to load weights with: n_characters should be 262, and a file without
        `bidirectional` is bidirectional, as bilm-tf's and AllenNLP's loaders take it. Without, it is one to train from:
        261, and not. The other number of characters is accepted with a warning, as the model it describes is the same.

        A float without a fraction is taken for an integer where one is needed, with a warning, and an unknown key that cannot
        change the model's shape is ignored with a warning: one that is in no section, holds no section, and is not almost the
        name of an option; with `inference`, also `char_cnn.projection`, which rewrites of bilm-tf write.

        Raises InputError for any other unknown key, naming a valid one that is near, for a missing key, and for a value out
        of range.
        """
        try:
            sections, flat = flatten(mapping)
            drop_unknown_keys(flat, option_keys(), source, inference)
            use_whole_numbers(flat, _rules(), source)
            check_characters(flat.pop(N_CHARACTERS, None), source, inference)
            flat.setdefault("bidirectional", inference)
            if "lstm" not in sections:
                raise InputError("`lstm` is missing")
            return cls(
                lstm=LstmOptions(**_arguments(LstmOptions, flat)),
                char_cnn=CharacterOptions(**_arguments(CharacterOptions, flat)) if "char_cnn" in sections else None,
                **_arguments(cls, flat),
            )
        except InputError as error:
            raise InputError(f"{source}: {error}") from None

    @classmethod
    def from_file(cls, path: Union[str, Path], inference: bool = True) -> "BiLMOptions":
        """The options in the JSON file at `path`. Raises InputError where the file cannot be read, beside what from_dict
        raises.
        """
        return cls.from_dict(read_json_mapping(path), str(path), inference)

    def to_dict(self, inference: bool = True) -> dict[str, Any]:
        """The options in bilm-tf's keys, for `json.dump`. With `inference`, n_characters is 262, and every key that
        AllenNLP's loader requires is there, clips too, as null where there is none; without, it is 261. Other options
        that are None are left out, and so are those that bilm-tf does not know, where they are at their defaults.
        """
        result: dict[str, Any] = {}
        beyond = self.beyond_bilm_tf()
        for field, value in self._fields_and_values():
            key = field.metadata["key"]
            if (field.metadata["in_bilm_tf"] or key in beyond) and (value is not None or key.endswith("_clip")):
                *parents, leaf = key.split(".")
                section = result
                for parent in parents:
                    section = section.setdefault(parent, {})
                section[leaf] = [list(pair) for pair in value] if key == "char_cnn.filters" else value
        if self.char_cnn is not None:
            result["char_cnn"]["n_characters"] = INFERENCE_CHARACTERS if inference else TRAINING_CHARACTERS
        return result

    def beyond_bilm_tf(self) -> list[str]:
        """Keys of the options that bilm-tf does not have, and that make this a model it cannot hold."""
        return [
            field.metadata["key"]
            for field, value in self._fields_and_values()
            if not field.metadata["in_bilm_tf"] and value != field.default
        ]

    def parameter_counts(self) -> dict[str, int]:
        """Number of parameters by the options that decide it; the softmax and a word embedding where `n_tokens_vocab` is
        known.
        """
        lstm, width = self.lstm, self.lstm.projection_dim
        counts = {"`lstm`": (2 if self.bidirectional else 1) * lstm.n_layers * lstm.layer_parameter_count()}
        if self.char_cnn is not None:
            cnn = self.char_cnn
            filters = sum((filter_width * cnn.embedding_dim + 1) * number for filter_width, number in cnn.filters)
            projection = (cnn.n_filters + 1) * width if cnn.n_filters != width else 0
            counts["`char_cnn.filters`"] = TRAINING_CHARACTERS * cnn.embedding_dim + filters + projection
            counts["`char_cnn.n_highway`"] = cnn.n_highway * 2 * (cnn.n_filters + 1) * cnn.n_filters
        if self.n_tokens_vocab is not None:
            tables = 2 if self.char_cnn is None and not self.share_embedding_softmax else 1
            counts["`n_tokens_vocab`"] = self.n_tokens_vocab * (tables * width + 1)
        return counts

    def of_the_model(self) -> dict[str, Any]:
        """The options that make the biLM, by their keys, without those that only steer training or are of the softmax."""
        return {
            key: value
            for field, value in self._fields_and_values()
            if (key := field.metadata["key"]).split(".")[0] in ("char_cnn", "lstm", "bidirectional")
        }

    def _fields_and_values(self) -> Iterator[tuple[dataclasses.Field, Any]]:
        """Every option that a key of options.json stands for."""
        for part in (self.char_cnn, self.lstm, self):
            for field in dataclasses.fields(part) if part is not None else ():
                if "key" in field.metadata:
                    yield field, getattr(part, field.name)


def option_keys() -> list[str]:
    """Every key of options.json, sections joined by dots."""
    return [*_rules(), N_CHARACTERS]


def _rules() -> dict[str, Any]:
    """The rule of each option by its key."""
    classes: tuple[type[Any], ...] = (CharacterOptions, LstmOptions, BiLMOptions)
    fields = [field for options in classes for field in dataclasses.fields(options)]
    return {field.metadata["key"]: field.metadata["rule"] for field in fields if "key" in field.metadata}


def _check_fields(options: Any) -> None:
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if "rule" in field.metadata and not (value is None and field.default is None):
            field.metadata["rule"].check(field.metadata["key"], value)


def _arguments(options: type[Any], flat: Mapping[str, Any]) -> dict[str, Any]:
    arguments = {}
    for field in dataclasses.fields(options):
        key = field.metadata.get("key", "")
        if key in flat:
            arguments[field.name] = flat[key]
        elif key and field.default is dataclasses.MISSING:
            raise InputError(f"`{key}` is missing")
    return arguments
