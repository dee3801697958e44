"""May this client, sender, recipient, content pass?  Facts in, verdict out; pure."""
