"""Recurrent layers: one file per family of cells, and the table of them in `cells`."""
