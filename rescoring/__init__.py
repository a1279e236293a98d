"""N-best lists, feature weights, metrics and tuning; needs no torch."""
