"""Running it: configuration, the service that joins the parts, command line, control socket, logs."""
