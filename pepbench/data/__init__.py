"""Tables, vocabularies, splits, the cache: raw rows in, encoded rows out."""
