"""Exact scores of many hypotheses in bounded memory."""
