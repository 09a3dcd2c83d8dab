"""Choose words for a place in a sentence: rank substitutes with a frozen biLM, and with word vectors that know no context."""
