"""`export`: what was said, as pages, tables or text that need no server."""
