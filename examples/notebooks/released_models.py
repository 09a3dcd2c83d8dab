# %% [markdown]
# # Released models
#
# Models of bilm-tf, AllenNLP, NLPL and others are an `options.json` and an HDF5 file. This notebook reads such a
# model, the tiny one in `fixtures/` of the repository: run it in the repository's folder or in a folder inside, where
# Jupyter opens it. A released model works in the same way, as a path, a zip or a URL such as `hf://USER/NAME`. No
# AllenNLP is needed.

# %%
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np

from allennlp_elmo_plus import ElmoEmbedder

folders = [folder / "fixtures" for folder in (Path.cwd(), *Path.cwd().parents)]
MODEL = next((folder for folder in folders if folder.is_dir()), None)
if MODEL is None:
    sys.exit(f"{Path.cwd()} must be the folder of the repository, or a folder inside")

# %% [markdown]
# ## What is in the file
#
# The names are those of bilm-tf. `RNN_0` is the forward direction, `RNN_1` the backward direction.

# %%
with h5py.File(MODEL / "weights.hdf5") as file:
    file.visititems(lambda name, item: print(name, item.shape) if isinstance(item, h5py.Dataset) else None)

# %% [markdown]
# ## Vectors
#
# The folder is enough: its options, weights and vocabulary are found in it.

# %%
embedder = ElmoEmbedder.from_pretrained(str(MODEL))
sentences = [line.split() for line in (MODEL / "sentences.txt").read_text("utf-8").splitlines()]
vectors = embedder.embed_batch(sentences)
print(embedder, *[array.shape for array in vectors], sep="\n")

# %% [markdown]
# The fixture also holds the vectors that AllenNLP's own `Elmo` computed with these files. They are the same, up to
# rounding:

# %%
with np.load(MODEL / "layers.npz") as expected:
    difference = max(np.abs(array - expected[f"sentence_{n}"]).max() for n, array in enumerate(vectors))
print(f"largest difference from AllenNLP: {difference:.1e}")
assert difference < 1e-5

# %% [markdown]
# ## Convert
#
# An archive holds options, weights and vocabulary in one file, which every command, AllenNLP's configs and
# fine-tuning take.

# %%
archive = Path("runs/released_models/model.tar.gz")
archive.parent.mkdir(parents=True, exist_ok=True)
archive.unlink(missing_ok=True)
subprocess.run([sys.executable, "-m", "allennlp_elmo_plus", "import", str(MODEL), str(archive)], check=True)
same = ElmoEmbedder.from_pretrained(str(archive)).embed_batch(sentences)
assert all(np.array_equal(one, other) for one, other in zip(vectors, same, strict=True))
