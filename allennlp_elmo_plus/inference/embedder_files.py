"""The files that an embedder is made of, by name: what another process needs to make the same one."""

from typing import NamedTuple, Optional

from allennlp_elmo_plus.formats.model_files import local_path
from allennlp_elmo_plus.formats.parameters import fill_parameters
from allennlp_elmo_plus.formats.trained_mix import read_trained_mix
from allennlp_elmo_plus.inference.embedder import DEFAULT_BATCH_SIZE, ElmoEmbedder


class EmbedderFiles(NamedTuple):
    """The arguments of `ElmoEmbedder.from_pretrained`; and `mix`, an archive whose weights of the biLM take the place of those."""

    path: str
    weight_file: Optional[str] = None
    vocab_file: Optional[str] = None
    token_embedding_file: Optional[str] = None
    device: str = "cpu"
    batch_size: int = DEFAULT_BATCH_SIZE
    mix: Optional[str] = None


def load_embedder(files: EmbedderFiles) -> ElmoEmbedder:
    """Raises what `ElmoEmbedder.from_pretrained` and, for `mix`, `formats.trained_mix` raise."""
    *arguments, mix = files
    embedder = ElmoEmbedder.from_pretrained(*arguments)  # type: ignore[arg-type]
    if mix is not None:
        fill_parameters(embedder.encoder, read_trained_mix(local_path(mix)).encoder_weights, f"{mix}: in its biLM")
    return embedder
