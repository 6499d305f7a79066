"""Jobs: how their state changes, the store that keeps them, the queue, and their webhooks."""
