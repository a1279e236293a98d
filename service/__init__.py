"""Every way in: HTTP, command line, web page."""
