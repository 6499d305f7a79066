"""What one does with an endpoint that is there: see its state and logs, learn why it does not answer, start it anew."""
