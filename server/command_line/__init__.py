"""What is typed and shown where the server is started: its commands and its first screen."""
