"""Token embedders."""
