"""Ways to store one matrix of a language model."""
