"""AllenNLP 0.9's module `allennlp.commands.elmo`, for programs that import `ElmoEmbedder` from it.

AllenNLP 1.0 removed the module. After `install()`, `from allennlp.commands.elmo import ElmoEmbedder` works again, with AllenNLP
2.10.1 or without AllenNLP. New programs use `allennlp_elmo_plus.ElmoEmbedder`, whose vectors do not depend on earlier sentences.
"""

import importlib
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from itertools import islice
from typing import IO, Any, Optional

import h5py
import numpy as np
import torch
from torch import Tensor, nn

from allennlp_elmo_plus.data.batching.sentences import sentence_ids
from allennlp_elmo_plus.errors import InputError
from allennlp_elmo_plus.formats.model_files import PathLike, local_path
from allennlp_elmo_plus.formats.pretrained import load_encoder
from allennlp_elmo_plus.modules.bilm import BiLMState
from allennlp_elmo_plus.modules.encoder import BiLMEncoder
from allennlp_elmo_plus.options.bilm_options import BiLMOptions
from allennlp_elmo_plus.storage.atomic_files import atomic_path

_ORIGINAL_MODEL = (
    "https://allennlp.s3.amazonaws.com/models/elmo/2x4096_512_2048cnn_2xhighway/elmo_2x4096_512_2048cnn_2xhighway_"
)
DEFAULT_OPTIONS_FILE = f"{_ORIGINAL_MODEL}options.json"
DEFAULT_WEIGHT_FILE = f"{_ORIGINAL_MODEL}weights.hdf5"
DEFAULT_BATCH_SIZE = 64

_OLD_NAME = "allennlp.commands.elmo"


def install() -> None:
    """Make this module the module `allennlp.commands.elmo` of this process.

    Call `install` before the first import of a library that uses the old module. Where AllenNLP is not installed, empty modules
    `allennlp` and `allennlp.commands` are added too.
    """
    module = sys.modules[__name__]
    *parents, attribute = _OLD_NAME.split(".")
    for depth in range(1, len(parents) + 1):
        _import_or_add(parents[:depth])
    setattr(sys.modules[".".join(parents)], attribute, module)
    sys.modules[_OLD_NAME] = module


def _import_or_add(path: list[str]) -> None:
    name = ".".join(path)
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        sys.modules[name] = module_from_spec(ModuleSpec(name, None, is_package=True))
        if len(path) > 1:
            setattr(sys.modules[".".join(path[:-1])], path[-1], sys.modules[name])


class ElmoEmbedder:
    """AllenNLP 0.9's `ElmoEmbedder`: the same arguments, methods and, to rounding, the same arrays.

    The LSTM state of each row of a batch is carried to the same row of the next batch, as in AllenNLP 0.9. So the same sentence gets
    other vectors each time, and vectors depend on the batches before. The first batch starts from a state of zeros. A larger batch
    adds rows of zeros; a smaller batch leaves the state of the other rows as it is.

    Arrays are float32, (L + 1, T, 2 D): the context-free vector of each word twice, then each LSTM layer, forward and backward
    concatenated. A sentence without words gives T = 0; a batch without any word does not change the state. (AllenNLP 0.9 gave
    float64 arrays of shape (3, 0, 1024) for any model, and refused a batch of several sentences without words.)

    Args:
        options_file: a path or URL. The default is the original model, which is downloaded.
        weight_file: the weights.hdf5 that belongs to it, a path or URL.
        cuda_device: the number of a GPU; -1 is the CPU.

    Attributes:
        elmo_bilm: the biLM, a module that may be moved with `to` and `cuda`.

    Raises:
        InputError: a file is missing or cannot be used, or the biLM does not read characters.
    """

    def __init__(
        self,
        options_file: PathLike = DEFAULT_OPTIONS_FILE,
        weight_file: PathLike = DEFAULT_WEIGHT_FILE,
        cuda_device: int = -1,
    ) -> None:
        options = BiLMOptions.from_file(local_path(options_file))
        if options.char_cnn is None:
            raise InputError(f"{options_file}: must have a `char_cnn`, got a biLM of word input")
        self.elmo_bilm = ElmoBiLm(load_encoder(options, local_path(weight_file)))
        if cuda_device >= 0:
            self.elmo_bilm.cuda(cuda_device)
        self.cuda_device = cuda_device

    def embed_sentence(self, sentence: Sequence[str]) -> np.ndarray:
        """Return the vectors of `sentence`, a list of words; the sentence is a batch of one row."""
        return self.embed_batch([sentence])[0]

    def embed_batch(self, batch: Sequence[Sequence[str]]) -> list[np.ndarray]:
        """Return the vectors of each sentence of `batch`, which is computed at once."""
        lengths = [len(sentence) for sentence in batch]
        if not any(lengths):
            empty = np.zeros((self.elmo_bilm.num_layers, 0, self.elmo_bilm.get_output_dim()), dtype=np.float32)
            return [empty.copy() for _ in batch]
        vectors, _ = self.batch_to_embeddings(batch)
        return [row[:, :length].cpu().numpy() for row, length in zip(vectors, lengths, strict=True)]

    def embed_sentences(
        self, sentences: Iterable[Sequence[str]], batch_size: int = DEFAULT_BATCH_SIZE
    ) -> Iterator[np.ndarray]:
        """Yield the vectors of `sentences` in order, computed in batches of `batch_size` sentences."""
        iterator = iter(sentences)
        while batch := list(islice(iterator, batch_size)):
            yield from self.embed_batch(batch)

    @torch.no_grad()
    def batch_to_embeddings(self, batch: Sequence[Sequence[str]]) -> tuple[Tensor, Tensor]:
        """Return the vectors of `batch`, (B, L + 1, T, 2 D), zeros at padding, and the mask (B, T), int64, 1 at words."""
        output = self.elmo_bilm(self.elmo_bilm.character_ids(batch))
        # Of T + 2 positions the mask is True at two more than the words.
        mask = output["mask"][:, 2:]
        vectors = torch.stack([layer[:, 1:-1] for layer in output["activations"]], dim=1)
        return vectors * mask[:, None, :, None], mask.long()

    def embed_file(
        self,
        input_file: IO[str],
        output_file_path: PathLike,
        output_format: str = "all",
        batch_size: int = DEFAULT_BATCH_SIZE,
        forget_sentences: bool = False,
        use_sentence_keys: bool = False,
    ) -> None:
        """Write the vectors of each line of `input_file` to an HDF5 file, one float32 dataset per line, atomically.

        Args:
            input_file: an open text file with one sentence per line, words separated by white space. It is read to its end and
                closed.
            output_file_path: the file to write; an existing file is replaced.
            output_format: "all" (L + 1, T, 2 D), or the "top" or "average" of the layers, (T, 2 D).
            batch_size: the number of sentences of a batch.
            forget_sentences: whether to leave out `sentence_to_index`, a JSON object from each sentence to its key.
            use_sentence_keys: whether the key of a dataset is its sentence, not the number of its line, from 0.

        Raises:
            InputError: `output_format` is another word, a line is blank, or a key occurs twice.
        """
        if output_format not in ("all", "top", "average"):
            raise InputError(f'`output_format` must be "all", "top" or "average", got {output_format!r}')
        with input_file:
            sentences = [line.strip() for line in input_file]
        if "" in sentences:
            raise InputError(f"`input_file` must not have blank lines, got one at line {sentences.index('') + 1}")
        keys = sentences if use_sentence_keys else [str(number) for number in range(len(sentences))]
        if len(set(keys)) < len(keys):
            raise InputError("`use_sentence_keys` needs sentences that occur once, got a repeated sentence")
        arrays = self.embed_sentences((sentence.split() for sentence in sentences), batch_size)
        with atomic_path(output_file_path) as temporary, h5py.File(str(temporary), "w") as file:
            for key, array in zip(keys, arrays, strict=True):
                file[key] = array if output_format == "all" else array[-1] if output_format == "top" else array.mean(0)
            if not forget_sentences and not use_sentence_keys:
                index = json.dumps(dict(zip(sentences, keys)))
                file.create_dataset("sentence_to_index", (1,), dtype=h5py.string_dtype())[0] = index


class CarriedState:
    """The LSTM state between two batches, under the names of AllenNLP's `ElmoLstm`, which programs read and assign.

    Attributes:
        stateful: whether a batch starts from `_states`; otherwise from zeros.
        _states: hidden state (L, B, 2 D) and memory cell (L, B, 2 C), forward and backward concatenated; None before the first batch.
    """

    def __init__(self) -> None:
        self.stateful = True
        self._states: Optional[Sequence[Tensor]] = None

    def reset_states(self) -> None:
        """Let the next batch start from zeros."""
        self._states = None


class ElmoBiLm(nn.Module):
    """A biLM with the call and the names of AllenNLP's `_ElmoBiLm`. The weights of `encoder` are frozen."""

    def __init__(self, encoder: BiLMEncoder) -> None:
        super().__init__()
        self.encoder = encoder.eval().requires_grad_(False)
        self.num_layers = encoder.num_layers
        self._elmo_lstm = CarriedState()

    def get_output_dim(self) -> int:
        """Return the width of a layer, 2 D."""
        return self.encoder.output_size

    def character_ids(self, batch: Sequence[Sequence[str]]) -> Tensor:
        """Return the character ids (B, T, C) of the words of `batch`, 0 at padding, on the device of the weights."""
        return sentence_ids(batch, self.encoder.max_characters).to(next(self.parameters()).device)

    def forward(self, inputs: Tensor) -> dict[str, Any]:
        """Return the layers of a batch of character ids, and carry its LSTM state to the next batch.

        Args:
            inputs: (B, T, C), 0 at padding.

        Returns:
            `activations`: L + 1 tensors (B, T + 2, 2 D), with `<S>` and `</S>`, zeros at padding. `mask`: (B, T + 2), bool.
        """
        lstm = self._elmo_lstm
        state = None
        if lstm.stateful and lstm._states is not None:
            num_directions = 2 if len(self.encoder.bilm.backward_layers) else 1
            state = BiLMState(*(torch.stack(part.chunk(num_directions, dim=-1)) for part in lstm._states))
        layers, layout, new_state = self.encoder(inputs, state)
        lstm._states = tuple(torch.cat(part.unbind(), dim=-1) for part in new_state)
        is_word = torch.ones_like(layers[0][:, :1], dtype=torch.bool)
        return {
            "activations": [layout.unpack(layer, keep_boundaries=True) for layer in layers],
            "mask": layout.unpack(is_word, keep_boundaries=True).squeeze(-1),
        }
