"""The way out: connections to next hops, and what their answers mean."""
