"""Images: find, read, open, orient, shrink, encode."""
