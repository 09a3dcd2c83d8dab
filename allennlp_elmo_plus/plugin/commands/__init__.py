"""The `elmo...` commands of `allennlp`, one module each, and the parts that they share."""
