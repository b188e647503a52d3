"""What a Dockerfile builds here: as its reference promises, and as a plain `docker build` does."""
