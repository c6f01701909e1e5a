"""Methods that compress embeddings, one file each."""
