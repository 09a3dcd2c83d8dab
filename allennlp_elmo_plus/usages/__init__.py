"""Compare how words are used in two corpora, by their vectors in context.

Occurrences of the words (`occurrences`) -> their vectors and substitutes (`usage_model`) -> clusters (`_clusters`) and measures of the
difference (`measures`), put together for each word (`comparison`) -> a table and a page (`page`).
"""
