"""Published results: a folder each, whose tables come from the files that are committed in it."""
