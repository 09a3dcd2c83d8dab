"""Type ids -> batches: lanes of running text or whole sentences, and negative samples."""
