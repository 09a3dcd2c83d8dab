"""The sampled and the exact softmax."""
