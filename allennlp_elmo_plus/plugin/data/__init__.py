"""The vocabulary, and folders as in AllenNLP's own tree."""
