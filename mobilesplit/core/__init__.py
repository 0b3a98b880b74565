"""The nouns: pure data and the error tree. Imports no torch and does no I/O."""
