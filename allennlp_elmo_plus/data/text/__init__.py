"""Bytes -> words -> character ids: text files, vocabularies and word counts."""
