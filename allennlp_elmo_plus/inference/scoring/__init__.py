"""Probabilities of words and sentences under a biLM with its softmax."""
