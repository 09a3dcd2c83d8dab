"""Text to batches, in three steps: `text`, `corpus`, `batching`."""
