"""The model and its training on one page learn a text."""

from examples import minimal_bilm

SENTENCES = [
    "the mill turns in the wind",
    "the rain falls on the mill",
    "a wind turns the old mill",
    "the old rain falls",
]


def test_the_model_on_one_page_learns_its_text(tmp_path, monkeypatch, capsys):
    """A held-out text of the same sentences becomes far more likely than words drawn at random from the vocabulary."""
    for name, value in {"LANES": 2, "STEPS": 5, "NEGATIVES": 4, "EPOCHS": 12, "DROPOUT": 0.0}.items():
        monkeypatch.setattr(minimal_bilm, name, value)
    text = tmp_path / "text.txt"
    text.write_text("\n".join(SENTENCES * 5), encoding="utf-8")
    heldout = minimal_bilm.main(str(text), str(text))
    assert heldout < 5 < len(minimal_bilm.build_vocabulary(minimal_bilm.read_sentences(str(text))))
    assert capsys.readouterr().out.count("perplexity") == 13
