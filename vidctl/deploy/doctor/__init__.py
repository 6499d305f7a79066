"""What `vidctl doctor` looks at: a table of checks that change nothing, each with what was seen and how to fix it."""
