"""Where users are known: a file, another server's auth socket, who gave a token."""
