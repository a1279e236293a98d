"""Scoring for the service: processes that hold the models, and the queues before them."""
