"""The parts of a session: requests and their answers, own messages, messages of others, coming
back. `client.connection` puts them together.
"""
