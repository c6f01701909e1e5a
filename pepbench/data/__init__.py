"""Data sets: readers of raw files, vocabularies, tables, splits, and their cache."""
