"""What biLMs know of grammar, measured on minimal pairs and compared with a model of word sequences (n-grams)."""
