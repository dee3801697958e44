"""Where to: the routing table, MX, name resolution."""
