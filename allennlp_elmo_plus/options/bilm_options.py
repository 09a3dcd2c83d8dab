"""The options of a biLM: the content of options.json, with which bilm-tf trains, and bilm-tf and AllenNLP load weights."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.options import rules
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
from allennlp_elmo_plus.options.rules import option
from allennlp_elmo_plus.storage.json_file import read_json_mapping

MAX_PARAMETERS = 2**32


@dataclass(frozen=True)
class CharacterOptions:
    """The section `char_cnn`: how the characters of a word become its vector. Options of the training alone are in `BiLMOptions`.

    Widths of filters are numbers of character positions; the marks at the beginning and the end of a word count.
    """

    embedding_dim: int = option("char_cnn.embedding.dim", rules.integer(1, 4096))
    filters: tuple[tuple[int, int], ...] = option("char_cnn.filters", rules.filters(max_filters=64, max_number=65536))
    activation: str = option("char_cnn.activation", rules.choice("relu", "tanh"))
    max_characters: int = option("char_cnn.max_characters_per_token", rules.integer(3, 1024), default=50)
    n_highway: int = option("char_cnn.n_highway", rules.integer(0, 64), default=0)

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "filters", tuple((width, number) for width, number in self.filters))
        widest = max(width for width, _ in self.filters)
        if widest > self.max_characters:
            raise InputError(
                f"`char_cnn.filters` must be no wider than the {self.max_characters} characters of "
                f"`char_cnn.max_characters_per_token`, got width {widest}"
            )

    @property
    def n_filters(self) -> int:
        """Return the width of the concatenated convolutions and of the highway layers."""
        return sum(number for _, number in self.filters)


@dataclass(frozen=True)
class LstmOptions:
    """The section `lstm`: the recurrent layers of the trained model. Options of the training alone are in `BiLMOptions`.

    `dim` is the size of the cell, `projection_dim` (D) the size of a layer's input and output, `cell` one of
    `options.cells.CELL_NAMES`, which may refuse other options.
    """

    dim: int = option("lstm.dim", rules.integer(1, 65536))
    projection_dim: int = option("lstm.projection_dim", rules.integer(1, 65536))
    n_layers: int = option("lstm.n_layers", rules.integer(1, 64), default=1)
    cell_clip: Optional[float] = option("lstm.cell_clip", rules.number(0, above=True), default=None)
    proj_clip: Optional[float] = option("lstm.proj_clip", rules.number(0, above=True), default=None)
    use_skip_connections: bool = option("lstm.use_skip_connections", rules.BOOLEAN, default=False)
    cell: str = option("lstm.cell", rules.choice(*CELL_NAMES), default="lstm", in_bilm_tf=False)
    layer_norm: bool = option("lstm.layer_norm", rules.BOOLEAN, default=False, in_bilm_tf=False)

    def __post_init__(self) -> None:
        check_fields(self)
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
        """Return whether the output is projected: as in bilm-tf, only to a smaller size."""
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
    """The options of bilm-tf's options.json and our own, checked.

    `char_cnn` None means word input. The default of `dropout` is 0 because the published files, made for inference, lack this option;
    bilm-tf requires it for training. The sections and `bidirectional` describe the trained model, see `architecture`. Options that
    affect only the training or the softmax are here, beside `dropout`; a file that is read and written keeps them.

    Raises:
        InputError: A value is out of range, or the model would have more than MAX_PARAMETERS parameters.
    """

    lstm: LstmOptions
    char_cnn: Optional[CharacterOptions] = None
    bidirectional: bool = option("bidirectional", rules.BOOLEAN, default=False)
    dropout: float = option("dropout", rules.number(0, below=1), default=0.0)
    n_tokens_vocab: Optional[int] = option("n_tokens_vocab", rules.integer(1, 2**31 - 1), default=None)
    batch_size: Optional[int] = option("batch_size", rules.integer(1, 2**20), default=None)
    unroll_steps: int = option("unroll_steps", rules.integer(1, 2**16), default=20)
    n_epochs: Optional[int] = option("n_epochs", rules.integer(0, 2**31 - 1), default=None)
    n_train_tokens: int = option("n_train_tokens", rules.integer(1, 2**63 - 1), default=768648884)
    all_clip_norm_val: Optional[float] = option("all_clip_norm_val", rules.number(0, above=True), default=None)
    n_negative_samples_batch: int = option("n_negative_samples_batch", rules.integer(1, 2**31 - 1), default=8192)
    sample_softmax: bool = option("sample_softmax", rules.BOOLEAN, default=True)
    learning_rate: float = option("learning_rate", rules.number(0, above=True), default=0.2)
    share_embedding_softmax: bool = option("share_embedding_softmax", rules.BOOLEAN, default=False)

    def __post_init__(self) -> None:
        check_fields(self)
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
        """Return the options in `mapping`, which has the keys of bilm-tf. A value of None counts as missing.

        Three things are accepted with a warning: the other of the two numbers of characters, which describes the same model; a float
        without a fraction in place of an integer; and an unknown key that cannot change the model's shape, see `drop_unknown_keys`.

        Args:
            mapping: The content of options.json.
            source: The name of the file in messages.
            inference: Whether the file is for loading weights: then n_characters should be 262, and a missing `bidirectional` means
                true, as for the loaders of bilm-tf and AllenNLP. A file for training should have 261, and missing means false.

        Raises:
            InputError: A key is missing or unknown, or a value is out of range.
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
                lstm=LstmOptions(**arguments(LstmOptions, flat)),
                char_cnn=CharacterOptions(**arguments(CharacterOptions, flat)) if "char_cnn" in sections else None,
                **arguments(cls, flat),
            )
        except InputError as error:
            raise InputError(f"{source}: {error}") from None

    @classmethod
    def from_file(cls, path: Union[str, Path], inference: bool = True) -> "BiLMOptions":
        """Return the options in the JSON file at `path`. Raises the errors of `from_dict` and `read_json_mapping`."""
        return cls.from_dict(read_json_mapping(path), str(path), inference)

    def to_dict(self, inference: bool = True) -> dict[str, Any]:
        """Return the options with the keys of bilm-tf, for `json.dump`; n_characters is 262 with `inference`, else 261.

        Options that are None are left out, except the clips, which AllenNLP's loader requires. Options that bilm-tf does not have are
        left out at their defaults.
        """
        result: dict[str, Any] = {}
        for field, value in self._fields_and_values():
            key = field.metadata["key"]
            is_written = field.metadata["in_bilm_tf"] or value != field.default
            if is_written and (value is not None or key.endswith("_clip")):
                *parents, leaf = key.split(".")
                section = result
                for parent in parents:
                    section = section.setdefault(parent, {})
                section[leaf] = [list(pair) for pair in value] if key == "char_cnn.filters" else value
        if self.char_cnn is not None:
            result["char_cnn"]["n_characters"] = INFERENCE_CHARACTERS if inference else TRAINING_CHARACTERS
        return result

    def beyond_bilm_tf(self) -> list[str]:
        """Return the keys of `architecture` that bilm-tf lacks and that differ from their defaults: bilm-tf cannot load the model."""
        architecture = self.architecture()
        return [
            key
            for field, value in self._fields_and_values()
            if (key := field.metadata["key"]) in architecture
            and not field.metadata["in_bilm_tf"]
            and value != field.default
        ]

    def parameter_counts(self) -> dict[str, int]:
        """Return the numbers of parameters by the option that determines them.

        The softmax and a word embedding are included if `n_tokens_vocab` is known.
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
            num_tables = 2 if self.char_cnn is None and not self.share_embedding_softmax else 1
            counts["`n_tokens_vocab`"] = self.n_tokens_vocab * (num_tables * width + 1)
        return counts

    def architecture(self) -> dict[str, Any]:
        """Return the options of the trained biLM by their keys: the sections and `bidirectional`."""
        return {
            key: value
            for field, value in self._fields_and_values()
            if (key := field.metadata["key"]).split(".")[0] in ("char_cnn", "lstm", "bidirectional")
        }

    def _fields_and_values(self) -> Iterator[tuple[dataclasses.Field, Any]]:
        for part in (self.char_cnn, self.lstm, self):
            for field in _option_fields(part) if part is not None else ():
                yield field, getattr(part, field.name)


def option_keys() -> list[str]:
    """Return all keys of options.json, sections joined by dots."""
    return [*_rules(), N_CHARACTERS]


def _option_fields(options: Any) -> list[dataclasses.Field]:
    """Return the fields of a class of options, or of an instance, that have a key in options.json."""
    return [field for field in dataclasses.fields(options) if "key" in field.metadata]


def _rules() -> dict[str, rules.Rule]:
    fields = [*_option_fields(CharacterOptions), *_option_fields(LstmOptions), *_option_fields(BiLMOptions)]
    return {field.metadata["key"]: field.metadata["rule"] for field in fields}


def check_fields(options: Any) -> None:
    """Check each option of the dataclass `options` by its rule; None is right where it is the default.

    Raises:
        InputError: A value is out of range.
    """
    for field in _option_fields(options):
        value = getattr(options, field.name)
        if value is not None or field.default is not None:
            field.metadata["rule"].check(field.metadata["key"], value)


def arguments(options: type[Any], flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of the dataclass `options` that `flat` has by their keys.

    Raises:
        InputError: An option without a default is missing.
    """
    found = {}
    for field in _option_fields(options):
        key = field.metadata["key"]
        if key in flat:
            found[field.name] = flat[key]
        elif field.default is dataclasses.MISSING:
            raise InputError(f"`{key}` is missing")
    return found
