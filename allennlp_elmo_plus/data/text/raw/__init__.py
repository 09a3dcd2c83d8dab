"""Raw text -> sentences of words: documents, their sentences, training and held-out text."""
