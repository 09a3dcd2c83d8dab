"""Use a trained biLM: word vectors, files of vectors, text generation, substitutes, nearest neighbours."""
