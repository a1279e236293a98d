"""What every room stands on: errors, files, signatures."""

__version__ = "0.1.0"
