"""Compressed language models: text in, natural log-probabilities out."""
