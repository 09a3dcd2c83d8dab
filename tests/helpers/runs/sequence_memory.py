"""A long sequence for a child process whose memory is measured."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from allennlp_elmo_plus import ElmoEmbedder
from allennlp_elmo_plus.inference.embed_file import EmbedSettings, embed_file
from benchmarks.measurement.peak_memory import Meter
from tests.helpers.small_encoders import BASE, BiLMOptions, random_encoder


@contextmanager
def _silent(what: str, unit: str, total: int, done: int) -> Iterator:
    yield lambda steps: None


def embed_to_file(meter: Meter, num_residues: int) -> int:
    """Embed one sequence into a file, and return the bytes of its vectors."""
    lstm = {**BASE["lstm"], "dim": 512, "projection_dim": 128, "cell_clip": 3, "proj_clip": 3}
    embedder = ElmoEmbedder(random_encoder(BiLMOptions.from_dict({**BASE, "lstm": lstm})))
    # Some code is imported, or compiled, at the first batch.
    embedder.embed_sentence(list("MKTAYIAKQR") * 300, "sum")
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "long.fasta")
        path.write_text(">titin\n" + ("MKTAYIAKQR" * num_residues)[:num_residues] + "\n", encoding="ascii")
        meter.start()
        embed_file(embedder, path, Path(directory, "vectors.h5"), EmbedSettings("sum"), _silent)
    return num_residues * embedder.output_size * 4
