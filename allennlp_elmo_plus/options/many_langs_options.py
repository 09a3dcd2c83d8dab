"""The config of a model of ELMoForManyLangs, as checked data."""

import dataclasses
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Optional, Union

from allennlp_elmo_plus.errors import InputError, truncated_repr
from allennlp_elmo_plus.options import rules
from allennlp_elmo_plus.options.bilm_options import BiLMOptions, arguments, check_fields
from allennlp_elmo_plus.options.rules import option

CONFIG_PATH = "config_path"
_SECTIONS = {"token_embedder": "cnn", "encoder": "elmo"}

_FILTERS = [[1, 32], [2, 32], [3, 64], [4, 128], [5, 256], [6, 512], [7, 1024]]
_TOKEN_EMBEDDER = {
    "name": "cnn",
    "activation": "relu",
    "filters": _FILTERS,
    "n_highway": 2,
    "word_dim": 100,
    "char_dim": 50,
    "max_characters_per_token": 50,
}
_ENCODER = {"name": "elmo", "projection_dim": 512, "cell_clip": 3, "proj_clip": 3, "dim": 4096, "n_layers": 2}
# The configs that the program ships, which released models name and do not hold.
_SHIPPED_CONFIGS: dict[str, dict[str, Any]] = {
    "cnn_50_100_512_4096_sample.json": {"token_embedder": _TOKEN_EMBEDDER, "encoder": _ENCODER},
    "cnn_0_100_512_4096_sample.json": {"token_embedder": {**_TOKEN_EMBEDDER, "char_dim": 0}, "encoder": _ENCODER},
}


@dataclasses.dataclass(frozen=True)
class ManyLangsOptions:
    """The options that describe a model of ELMoForManyLangs; those that only steer its training are left out.

    The numbers of words and characters are not among them: they are those of the model's dictionaries.

    Raises:
        InputError: a value is out of range.
    """

    word_dim: int = option("token_embedder.word_dim", rules.integer(0, 65536))
    char_dim: int = option("token_embedder.char_dim", rules.integer(0, 4096))
    filters: tuple[tuple[int, int], ...] = option(
        "token_embedder.filters", rules.filters(max_filters=64, max_number=65536)
    )
    activation: str = option("token_embedder.activation", rules.choice("relu", "tanh"))
    n_highway: int = option("token_embedder.n_highway", rules.integer(0, 64))
    max_characters: int = option("token_embedder.max_characters_per_token", rules.integer(3, 1024))
    dim: int = option("encoder.dim", rules.integer(1, 65536))
    projection_dim: int = option("encoder.projection_dim", rules.integer(1, 65536))
    n_layers: int = option("encoder.n_layers", rules.integer(1, 64))
    cell_clip: Optional[float] = option("encoder.cell_clip", rules.number(0, above=True), default=None)
    proj_clip: Optional[float] = option("encoder.proj_clip", rules.number(0, above=True), default=None)

    def __post_init__(self) -> None:
        check_fields(self)
        object.__setattr__(self, "filters", tuple((width, number) for width, number in self.filters))
        if self.word_dim == self.char_dim == 0:
            raise InputError("`token_embedder.word_dim` or `token_embedder.char_dim` must be above 0, got 0 for both")
        widest = max(width for width, _ in self.filters)
        if widest > self.max_characters:
            raise InputError(
                f"`token_embedder.filters` must be no wider than `token_embedder.max_characters_per_token`, "
                f"{self.max_characters}, got width {widest}"
            )

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], source: str) -> "ManyLangsOptions":
        """Return the options in `mapping`; keys that do not change the model are ignored.

        Args:
            mapping: the content of the file that `config.json` names; or that of `config.json` itself where `config_path` names
                one of the two files that the program ships.
            source: names `mapping` in errors.

        Raises:
            InputError: a key is missing, a value is out of range, the model has recurrent layers of another kind ("lstm"), or
                `config_path` names another file.
        """
        try:
            return cls._from_sections(mapping if "encoder" in mapping else _shipped_config(mapping))
        except InputError as error:
            raise InputError(f"{source}: {error}") from None

    @classmethod
    def _from_sections(cls, mapping: Mapping[str, Any]) -> "ManyLangsOptions":
        for name, kind in _SECTIONS.items():
            section = mapping.get(name)
            if not isinstance(section, Mapping):
                raise InputError(f"`{name}` must be an object of options, got {truncated_repr(section)}")
            if section.get("name") != kind:
                raise InputError(f"`{name}.name` must be {kind}, got {truncated_repr(section.get('name'))}")
        flat = {f"{name}.{key}": value for name in _SECTIONS for key, value in mapping[name].items()}
        return cls(**arguments(cls, flat))

    def architecture(self) -> dict[str, Any]:
        """Return all options by their keys."""
        return {field.metadata["key"]: getattr(self, field.name) for field in dataclasses.fields(self)}


Options = Union[BiLMOptions, ManyLangsOptions]


def parse_options(mapping: Mapping[str, Any], source: str) -> Options:
    """Return the options in `mapping`: the content of an options.json, or of a config of ELMoForManyLangs.

    Raises:
        InputError: `mapping` is neither; the message begins with `source`.
    """
    if any(name in mapping for name in (CONFIG_PATH, *_SECTIONS)):
        return ManyLangsOptions.from_dict(mapping, source)
    return BiLMOptions.from_dict(mapping, source)


def check_same_options(expected: Options, options: Options, source: str) -> None:
    """Check that `options`, those of the model at `source`, are `expected`. Options of training alone are not compared.

    Raises:
        InputError: The model is of another kind, or some option differs; the message names all that do.
    """
    if type(expected) is not type(options):
        raise InputError(f"{source}: must be a model of the kind that `options` describe, got another kind")
    ours, theirs = expected.architecture(), options.architecture()
    if ours.keys() != theirs.keys():
        must_be, got = ("there", "is missing") if ours.keys() > theirs.keys() else ("missing", "is there")
        raise InputError(f"{source}: its `char_cnn` must be {must_be}, as in `options`, and {got}")
    differing = [
        f"`{key}` {truncated_repr(value)}, got {truncated_repr(theirs[key])}"
        for key, value in ours.items()
        if value != theirs[key]
    ]
    if differing:
        raise InputError(f"{source}: its options must be those of `options`: {'; '.join(differing)}")


def config_name(mapping: Mapping[str, Any]) -> str:
    """Return the name, without directories, of the file that the `config_path` of a `config.json` names.

    Raises:
        InputError: `config_path` is missing or no path.
    """
    path = mapping.get(CONFIG_PATH)
    name = PurePosixPath(path).name if isinstance(path, str) else ""
    if not name or "\0" in name or name == "..":
        raise InputError(f"`{CONFIG_PATH}` must be the path of a config, got {truncated_repr(path)}")
    return name


def _shipped_config(mapping: Mapping[str, Any]) -> dict[str, Any]:
    name = config_name(mapping)
    if name not in _SHIPPED_CONFIGS:
        raise InputError(
            f"`{CONFIG_PATH}` must name a file that lies beside it, or {' or '.join(_SHIPPED_CONFIGS)}, "
            f"got {truncated_repr(name)}"
        )
    return _SHIPPED_CONFIGS[name]
