# %% [markdown]
# # Quick start: from a text to nearest neighbours
#
# This notebook makes a training text, pretrains a small biLM, and looks at the vectors of words in context. It needs
# the package with AllenNLP (see "Install") and takes about two minutes on two cores. Nothing is downloaded: the text
# is the documentation of Python's standard library.

# %%
import ast
import json
import subprocess
import sys
import sysconfig
from pathlib import Path


def elmo_plus(*arguments: object) -> None:
    """Run a command, as `elmo-plus ARGUMENTS` in a shell does."""
    subprocess.run([sys.executable, "-m", "allennlp_elmo_plus", *map(str, arguments)], check=True)


# %% [markdown]
# ## Raw text
#
# A file of raw text, with blank lines between paragraphs. Use a text of your own in its place.

# %%
folder = Path("runs/quick_start")
folder.mkdir(parents=True, exist_ok=True)
paragraphs: list[str] = []
for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            paragraphs += (ast.get_docstring(node) or "").split("\n\n")
raw = folder / "raw.txt"
raw.write_text("\n\n".join(paragraphs), encoding="utf-8")

# %% [markdown]
# `elmo-plus prepare` splits it into sentences and words, leaves out duplicates, and holds out a part to measure the
# perplexity with.

# %%
elmo_plus("prepare", raw, folder, "--language", "en", "--overwrite")

# %% [markdown]
# ## Pretrain
#
# The config `bilm` is a small model for a laptop. The first training on a machine compiles its kernels, which takes
# half a minute.

# %%
config = folder / "bilm.jsonnet"
with config.open("w") as file:
    subprocess.run([sys.executable, "-m", "allennlp_elmo_plus", "config", "bilm"], stdout=file, check=True)
texts = {"train_data_path": f"{folder}/train.txt", "validation_data_path": f"{folder}/heldout.txt"}
elmo_plus("train", config, "-s", folder / "bilm", "--force", "-o", json.dumps(texts))
model = folder / "bilm" / "model.tar.gz"

# %% [markdown]
# ## Nearest neighbours in context
#
# A word has another vector in each sentence. The command finds the words of a text whose vectors are the most similar
# to a word in its sentence; "without context" compares the words alone.

# %%
elmo_plus("neighbors", model, folder / "heldout.txt", "--query", "file", "Open the file for reading .")

# %% [markdown]
# ## Vectors in Python
#
# `embed_sentence` gives an array of three layers: one for the word without context, and one for each LSTM layer.

# %%
from allennlp_elmo_plus import ElmoEmbedder  # noqa: E402

embedder = ElmoEmbedder.from_pretrained(str(model))
first, second = "Return the set of items .".split(), "Set the name of the file .".split()
print(embedder.embed_sentence(first).shape)
print(f"similarity of the sentences: {embedder.sentence_similarity(first, second):.2f}")
for layer in range(3):
    similarity = embedder.word_similarity(first, 2, second, 0, layers=layer)
    print(f"similarity of 'set' and 'Set', layer {layer}: {similarity:.2f}")

# %% [markdown]
# Next: `elmo-plus explore` shows the same model in a browser, and "Choose" says how much text a good model needs.
