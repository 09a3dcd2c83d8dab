"""`allennlp elmo` on proteins."""

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from tests.helpers.command_line import Ended
from tests.helpers.saved_bilm import saved


def test_seqvecs_vectors_of_proteins(run: Callable[..., Ended], tmp_path: Path) -> None:
    embedder = saved(tmp_path)
    (tmp_path / "proteins.fasta").write_text(">P1 first\nMKTay\n>P2\nGDT\n", encoding="ascii")
    output = tmp_path / "vectors.h5"
    options = ["--sum", "--pool", "--float16", "--model", tmp_path / "model.tar.gz"]
    ended = run("elmo", tmp_path / "proteins.fasta", output, *options)
    assert (ended.status, ended.out) == (0, f"wrote {output}: 8 words in 2 sentences\n")
    with h5py.File(output) as file:
        assert set(file) == {"P1", "P2"}
        for key, sequence in (("P1", "MKTAY"), ("P2", "GDT")):
            expected = embedder.embed_sentence(list(sequence)).sum(axis=0).mean(axis=0)
            assert file[key].dtype == np.float16
            np.testing.assert_allclose(file[key][...], expected, rtol=2e-3, atol=2e-3)
