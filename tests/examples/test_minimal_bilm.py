"""The model in examples/minimal_bilm.py learns a text."""

from examples import minimal_bilm

SENTENCES = [
    "the mill turns in the wind",
    "the rain falls on the mill",
    "a wind turns the old mill",
    "the old rain falls",
]


def test_the_model_on_one_page_learns_its_text(tmp_path, monkeypatch, capsys):
    """The perplexity falls below 5, far below the number of words, which is the perplexity of random words."""
    for name, value in {"LANES": 2, "STEPS": 5, "NEGATIVES": 4, "EPOCHS": 12, "DROPOUT": 0.0}.items():
        monkeypatch.setattr(minimal_bilm, name, value)
    text = tmp_path / "text.txt"
    text.write_text("\n".join(SENTENCES * 5), encoding="utf-8")
    perplexity = minimal_bilm.main(str(text), str(text))
    assert perplexity < 5 < len(minimal_bilm.build_vocabulary(minimal_bilm.read_sentences(str(text))))
    assert capsys.readouterr().out.count("perplexity") == 13
