"""Small random models in the files of ELMoForManyLangs, and their vectors by a definition in plain PyTorch and AllenNLP's modules."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

WORDS = ["<oov>", "<bos>", "<eos>", "<pad>", "the", "mill", "turns", "나비", "x" * 10]
# The padding is not the last one, and the words `turns` and `river` hold characters that are not here.
CHARACTERS = ["t", "<pad>", "h", "e", "m", "i", "l", "나", "\u3000", "x", "<bos>", "<eos>", "<oov>", "<bow>", "<eow>"]
SENTENCES = [["the", "mill", "turns", "."], ["나비", "나", "\u3000"], ["x" * 12, "x" * 10, "river"], ["e"]]

CONFIG: dict[str, Any] = {
    "encoder": {"name": "elmo", "projection_dim": 6, "cell_clip": 0.3, "proj_clip": 0.2, "dim": 10, "n_layers": 2},
    "token_embedder": {
        "name": "cnn",
        "activation": "relu",
        "filters": [[1, 4], [3, 5]],
        "n_highway": 2,
        "word_dim": 3,
        "char_dim": 4,
        "max_characters_per_token": 12,
    },
    "classifier": {"name": "sampled_softmax", "n_samples": 8192},
    "dropout": 0.1,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "usual": {},
    "no words": {"word_dim": 0},
    "no characters": {"char_dim": 0},
    "no highway, tanh": {"n_highway": 0, "activation": "tanh"},
    "no bottleneck": {"projection_dim": 10, "cell_clip": None, "proj_clip": None},
}


def config_of(variant: str) -> dict[str, Any]:
    changes = VARIANTS[variant]
    return {
        name: {key: changes.get(key, value) for key, value in section.items()} if isinstance(section, dict) else section
        for name, section in CONFIG.items()
    }


class TokenEmbedder(nn.Module):
    """The modules and names of `token_embedder.pkl`."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        options, width = config["token_embedder"], 0
        if options["word_dim"]:
            self.word_emb_layer = nn.ModuleDict({"embedding": nn.Embedding(len(WORDS), options["word_dim"])})
            width += options["word_dim"]
        if options["char_dim"]:
            self.char_emb_layer = nn.ModuleDict({"embedding": nn.Embedding(len(CHARACTERS), options["char_dim"])})
            self.convolutions = nn.ModuleList(
                nn.Conv1d(options["char_dim"], number, filter_width) for filter_width, number in options["filters"]
            )
            num_filters = sum(number for _, number in options["filters"])
            # Without AllenNLP the test is skipped.
            highway = pytest.importorskip("allennlp.modules.highway")
            self.highways = highway.Highway(num_filters, options["n_highway"])
            width += num_filters
        self.projection = nn.Linear(width, config["encoder"]["projection_dim"])
        self.activation = {"relu": torch.relu, "tanh": torch.tanh}[options["activation"]]

    def forward(self, word_ids: torch.Tensor, character_ids: torch.Tensor) -> torch.Tensor:
        parts = []
        if hasattr(self, "word_emb_layer"):
            parts.append(self.word_emb_layer["embedding"](word_ids))
        if hasattr(self, "char_emb_layer"):
            embedded = self.char_emb_layer["embedding"](character_ids).transpose(1, 2)
            maxima = [self.activation(layer(embedded).max(dim=2).values) for layer in self.convolutions]
            parts.append(self.highways(torch.cat(maxima, dim=1)))
        return self.projection(torch.cat(parts, dim=1))


class Model(nn.Module):
    """The whole model, one sentence at a time from a zero state."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        options = config["encoder"]
        self.max_characters = config["token_embedder"]["max_characters_per_token"]
        self.token_embedder = TokenEmbedder(config)
        self.encoder = pytest.importorskip("allennlp.modules.elmo_lstm").ElmoLstm(
            options["projection_dim"],
            options["projection_dim"],
            options["dim"],
            options["n_layers"],
            memory_cell_clip_value=options["cell_clip"],
            state_projection_clip_value=options["proj_clip"],
        )

    @torch.no_grad()
    def vectors(self, sentence: list[str]) -> torch.Tensor:
        """(L + 1, T, 2p)."""
        words = ["<bos>", *(word[: self.max_characters - 2] for word in sentence), "<eos>"]
        word_ids = torch.tensor([WORDS.index(word if word in WORDS else "<oov>") for word in words])
        tokens = self.token_embedder(word_ids, torch.tensor([self._spell(word) for word in words]))
        self.encoder.reset_states()
        layers = self.encoder(tokens[None], torch.ones(1, len(words), dtype=torch.bool))
        return torch.cat([torch.cat([tokens, tokens], dim=1)[None], layers[:, 0]])[:, 1:-1]

    def _spell(self, word: str) -> list[int]:
        characters = [word] if word in ("<bos>", "<eos>") else list(word)
        spelled = ["<eow>", *(c if c in CHARACTERS else "<oov>" for c in characters), "<bow>"]
        padding = ["<pad>"] * (self.max_characters - len(spelled))
        return [CHARACTERS.index(character) for character in (*spelled, *padding)]


def write_model(directory: Path, variant: str = "usual", **save_options: Any) -> Model:
    """Write a random model to `directory`, which is made, and return it as the definition."""
    config = config_of(variant)
    torch.manual_seed(7)
    model = Model(config).eval()
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.6)
    directory.mkdir()
    (directory / "config.json").write_text(json.dumps({"seed": 1, "config_path": "/data/of/another/machine/cfg.json"}))
    (directory / "cfg.json").write_text(json.dumps(config))
    for name, tokens in (("word.dic", WORDS), ("char.dic", CHARACTERS)):
        # As the program's reader needs it: white space at the ends of a line is stripped.
        lines = [f"{token}\t{number}".strip() for number, token in enumerate(tokens)]
        (directory / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    save_options = {"_use_new_zipfile_serialization": False, **save_options}
    torch.save(model.token_embedder.state_dict(), directory / "token_embedder.pkl", **save_options)
    torch.save(model.encoder.state_dict(), directory / "encoder.pkl", **save_options)
    return model
