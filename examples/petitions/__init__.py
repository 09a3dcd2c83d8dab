"""Classify Korean petitions by topic with a biLM that is pretrained on petitions."""
