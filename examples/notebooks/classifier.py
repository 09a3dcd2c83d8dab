# %% [markdown]
# # A classifier with scikit-learn
#
# This notebook classifies texts by the vectors of a biLM. It uses the biLM of the notebook "Quick start"; every other
# biLM does as well. It needs the extra `sklearn` (`pip install ".[sklearn]"`), no AllenNLP, and takes some seconds.

# %%
import ast
import sysconfig
from pathlib import Path

from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from allennlp_elmo_plus.integrations import ElmoVectorizer

MODEL = "runs/quick_start/bilm/model.tar.gz"

# %% [markdown]
# ## Labelled texts
#
# The first lines of the documentation of functions and of classes: does a text describe a function or a class? The
# words of a text are separated by spaces, as in the training text of the biLM.

# %%
texts: dict[str, list[str]] = {"function": [], "class": []}
for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*/*.py")):
    if path.parent.name in ("test", "idlelib", "site-packages"):
        continue
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and (words := ast.get_docstring(node)):
            label = "class" if isinstance(node, ast.ClassDef) else "function"
            texts[label].append(words.splitlines()[0].replace(".", " .").replace(",", " ,"))
size = 300
parts = train_test_split(
    texts["function"][:size] + texts["class"][:size],
    ["function"] * size + ["class"] * size,
    train_size=120,
    random_state=0,
)
train_texts, test_texts, train_labels, test_labels = parts
print(f"{len(train_texts)} texts to train on, {len(test_texts)} to test on")

# %% [markdown]
# ## Train and test
#
# `ElmoVectorizer` turns each text into one vector, the mean of the vectors of its words. Cross-validation chooses the
# layer.

# %%
pipeline = make_pipeline(ElmoVectorizer(MODEL), StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
search = GridSearchCV(pipeline, {"elmovectorizer__layers": ["average", 0, 1, 2]}, cv=3)
search.fit(train_texts, train_labels)
print("best layer:", search.best_params_["elmovectorizer__layers"])
print(f"with the biLM: {search.score(test_texts, test_labels):.1%} of the labels are right")

# %% [markdown]
# The usual comparison counts words:

# %%
counts = make_pipeline(CountVectorizer(), LogisticRegression(max_iter=1000)).fit(train_texts, train_labels)
print(f"with counts of words: {counts.score(test_texts, test_labels):.1%}")

# %% [markdown]
# A biLM helps where the label depends on the form of a sentence, as here. Where single words decide, such as for the
# topic of a text, counts of words may be better: compare both, as this notebook does.
