"""What the server remembers of connections, sessions, rooms, messages and files."""
