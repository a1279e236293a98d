"""Feature weights from counts and references."""
