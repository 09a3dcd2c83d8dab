"""Pretrain English biLMs for single sentences."""
