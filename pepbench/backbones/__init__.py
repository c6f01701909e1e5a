"""Backbones: models from feature vectors to a prediction, one in a file."""
