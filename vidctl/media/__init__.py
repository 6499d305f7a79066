"""Pictures: find, read, open, orient, shrink, encode."""
