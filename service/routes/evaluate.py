"""Hypotheses and references in, a corpus score with its interval out."""

from fastapi import APIRouter

router = APIRouter(tags=["evaluate"])
