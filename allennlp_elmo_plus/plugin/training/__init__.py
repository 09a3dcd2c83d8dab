"""Training: what AllenNLP's trainer needs beside its own parts."""
