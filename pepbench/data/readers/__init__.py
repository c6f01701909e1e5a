"""Readers of raw files: delimited text, Parquet and libFM, in chunks of rows."""
