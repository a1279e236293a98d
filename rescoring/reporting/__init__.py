"""Reports: one HTML page each that stands alone, with its plots drawn in it."""
