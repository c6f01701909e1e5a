"""Embedding tables: lookup, storage layouts, row-wise updates, compiled kernels, quantisation."""
