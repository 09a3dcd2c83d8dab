"""The commands that print probabilities of words and sentences under a biLM."""
