"""Trained tables as files: which run to take, training it again, writing, ONNX."""
