"""What vidctl can ask of a worker: one module a task, each with its result types, `encode` and `decode`.  Pure."""
