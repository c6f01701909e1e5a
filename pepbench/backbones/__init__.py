"""Backbones: what turns feature vectors into a prediction, one file each."""
