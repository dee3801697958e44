"""The way in: thin byte carriers, listeners, and the intake that turns a session into a queued message."""
