"""Shared parts of the examples that measure: the files of their figures, their tables, and the commands that they run."""
