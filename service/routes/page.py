"""The web pages."""

from pathlib import Path

from fastapi import APIRouter
from starlette.responses import FileResponse

router = APIRouter()
_WEB = Path(__file__).parent.parent / "web"


@router.get("/", include_in_schema=False)
async def index() -> FileResponse:
    """The page that tries rescoring out."""
    return FileResponse(_WEB / "index.html", headers={"Cache-Control": "no-cache"})


@router.get("/docs", include_in_schema=False)
async def docs() -> FileResponse:
    """The API's description, drawn from /openapi.json without anything from elsewhere."""
    return FileResponse(_WEB / "docs.html", headers={"Cache-Control": "no-cache"})
