"""The convolution over characters, with the maximum over all positions of a word."""
