"""The HTTP side: routes, limits, the server."""
