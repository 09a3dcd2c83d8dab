"""A biLM for a language with little text, and what it gives to three tasks, beside other word vectors of the same text."""
