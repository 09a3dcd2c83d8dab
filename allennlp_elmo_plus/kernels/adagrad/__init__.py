"""Adagrad's update of parameters."""
