"""What Docker's own files say, read without Docker: Dockerfile, .dockerignore, config.json; and a worker's folder."""
