import subprocess
import sys


def test_the_language_model_imports_no_corpus():
    # A new interpreter, because the other tests have imported the corpus.
    command = (
        "import sys, allennlp_elmo_plus.modules.language_model; "
        "print(*[name for name in sys.modules if name.startswith('allennlp_elmo_plus.data')])"
    )
    result = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    imported = set(result.stdout.split())
    assert "allennlp_elmo_plus.data.batching.batch" in imported
    assert not [name for name in imported if name.startswith("allennlp_elmo_plus.data.corpus") or "text_files" in name]
