"""A biLM in files: archives of AllenNLP, bilm-tf's weights.hdf5, exported models, tables of token embeddings."""
