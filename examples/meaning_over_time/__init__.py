"""Compare how words are used in petitions of two years, and in random halves of the same petitions."""
