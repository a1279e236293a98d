"""Layers over matrices; none knows how a matrix is stored."""
