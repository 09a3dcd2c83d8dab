"""Hashes of weights."""
