"""Describe an embedder by the names of its files, from which another process can load the same embedder."""

from typing import NamedTuple, Optional

from allennlp_elmo_plus.formats.model_files import local_path
from allennlp_elmo_plus.formats.parameters import fill_parameters
from allennlp_elmo_plus.formats.trained_mix import read_trained_mix
from allennlp_elmo_plus.inference.embedder import DEFAULT_BATCH_SIZE, ElmoEmbedder


class EmbedderFiles(NamedTuple):
    """The arguments of `ElmoEmbedder.from_pretrained`, and a fine-tuned archive.

    Attributes:
        mix: the model.tar.gz of a downstream model; the weights of its biLM replace those of the other files.
    """

    path: str
    weight_file: Optional[str] = None
    vocab_file: Optional[str] = None
    token_embedding_file: Optional[str] = None
    device: str = "cpu"
    batch_size: int = DEFAULT_BATCH_SIZE
    mix: Optional[str] = None


def load_embedder(files: EmbedderFiles) -> ElmoEmbedder:
    """Return the embedder in `files`. Raises what `ElmoEmbedder.from_pretrained`, `read_trained_mix` and `fill_parameters` raise."""
    *arguments, mix = files
    embedder = ElmoEmbedder.from_pretrained(*arguments)  # type: ignore[arg-type]
    if mix is not None:
        fill_parameters(embedder.encoder, read_trained_mix(local_path(mix)).encoder_weights, f"{mix}: in its biLM")
    return embedder
