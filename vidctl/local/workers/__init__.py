"""Workers: how many there are, and how they are prepared, started, watched and stopped."""
