"""Modules for models of your own."""
