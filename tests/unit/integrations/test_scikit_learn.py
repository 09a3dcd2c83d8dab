"""`ElmoVectorizer` in scikit-learn's tools, compared with `ElmoEmbedder`."""

import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

from allennlp_elmo_plus import ElmoEmbedder, InputError
from tests.helpers.saved_bilm import saved

pytest.importorskip("sklearn", minversion="1.6")
from sklearn.base import clone  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.utils import estimator_checks  # noqa: E402

from allennlp_elmo_plus.integrations import ElmoVectorizer, _scikit_learn  # noqa: E402

TEXTS = ["the river rises .", "", "and the mill turns", "나비 the"]


@pytest.fixture
def model(tmp_path: Path) -> str:
    saved(tmp_path)
    _scikit_learn._load.cache_clear()
    return str(tmp_path / "model.tar.gz")


@pytest.mark.parametrize("layers", ["average", "top", 1])
def test_vectors_are_the_pooled_vectors_of_the_embedder(model: str, layers: object) -> None:
    expected = ElmoEmbedder.from_pretrained(model).embed_pooled([text.split() for text in TEXTS], layers)
    vectorizer = ElmoVectorizer(model, layers=layers)
    np.testing.assert_array_equal(vectorizer.fit_transform(TEXTS), expected)
    # Nothing is fitted. A text may be a list of words, and the texts an array.
    np.testing.assert_array_equal(clone(vectorizer).transform([text.split() for text in TEXTS]), expected)
    np.testing.assert_array_equal(vectorizer.transform(np.array(TEXTS)), expected)
    assert vectorizer.transform([]).shape == (0, 10)


def test_all_layers_are_concatenated(model: str) -> None:
    layers = ElmoEmbedder.from_pretrained(model).embed_pooled([TEXTS[0].split()], "all")[0]
    vectorizer = ElmoVectorizer(model, layers="all")
    np.testing.assert_array_equal(vectorizer.transform(TEXTS[:1])[0], np.concatenate(layers))
    assert vectorizer.transform([]).shape == (0, 30)
    assert list(vectorizer.get_feature_names_out())[::29] == ["elmovectorizer0", "elmovectorizer29"]


def test_the_embedder_has_the_batch_size_of_the_vectorizer(model: str) -> None:
    assert ElmoVectorizer(model, batch_size=7)._embedder().batch_size == 7


def test_a_pickle_holds_the_name_of_the_bilm(model: str) -> None:
    vectorizer = ElmoVectorizer(model).fit(TEXTS)
    data = pickle.dumps(vectorizer)
    assert len(data) < 1000
    np.testing.assert_array_equal(pickle.loads(data).transform(TEXTS), vectorizer.transform(TEXTS))


def test_a_grid_search_reads_the_bilm_once(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []
    from_pretrained = ElmoEmbedder.from_pretrained

    def counted(path: str, **arguments: object) -> ElmoEmbedder:
        reads.append(path)
        return from_pretrained(path, **arguments)

    monkeypatch.setattr(ElmoEmbedder, "from_pretrained", counted)
    search = GridSearchCV(
        make_pipeline(ElmoVectorizer(model), LogisticRegression()),
        {"elmovectorizer__layers": ["top", 0, "all"], "logisticregression__C": [1, 10]},
        cv=2,
        error_score="raise",
    )
    search.fit([*TEXTS, "the mill", "mill turns", "river rises", "the river"], [0, 1, 1, 0, 1, 1, 0, 0])
    assert set(search.predict(TEXTS)) <= {0, 1}
    assert reads == [model]
    # A biLM that was trained again is read again.
    os.utime(model, (1, 1))
    search.predict(TEXTS)
    assert reads == [model] * 2


def test_scikit_learns_own_checks_pass(model: str) -> None:
    vectorizer = ElmoVectorizer(model)
    with warnings.catch_warnings():
        # Most checks need numbers, and are skipped.
        warnings.simplefilter("ignore")
        results = estimator_checks.check_estimator(vectorizer)
    assert results and {result["status"] for result in results} == {"passed"}
    for name in ("no_attributes_set_in_init", "get_params_invariance", "set_params", "estimator_repr"):
        getattr(estimator_checks, f"check_{name}")("ElmoVectorizer", vectorizer)


@pytest.mark.parametrize(
    "texts, rule",
    [
        ("the river", "`X` must be a list of texts, got the text 'the river'"),
        (["the river", float("nan")], r"`sentences\[1\]` must be a list of words, got nan"),
        ([["the", 3]], r"`sentences\[0\]\[1\]` must be a string, got 3"),
    ],
)
def test_other_input_than_texts_is_refused(model: str, texts: object, rule: str) -> None:
    with pytest.raises(InputError, match=rule):
        ElmoVectorizer(model).transform(texts)


def test_fit_refuses_a_missing_bilm_and_a_layer_that_it_lacks(model: str) -> None:
    with pytest.raises(InputError, match="absent: there is no such file or directory"):
        ElmoVectorizer("absent").fit(TEXTS)
    with pytest.raises(InputError, match="`layers` must be from 0 to 2"):
        ElmoVectorizer(model, layers=3).fit(TEXTS)


@pytest.mark.slow
def test_without_scikit_learn_one_line_says_what_to_install() -> None:
    code = "import sys; sys.modules['sklearn'] = None; from allennlp_elmo_plus.integrations import ElmoVectorizer"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stderr.splitlines()[-1] == (
        "ImportError: `ElmoVectorizer` needs scikit-learn, which is not installed: pip install 'allennlp_elmo_plus[sklearn]'"
    )
    assert "During handling" not in result.stderr
