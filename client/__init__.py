"""The client: a connection for programs (`client.connection`), file transfers, and the line client
for people.

Imports `protocol` and `incoming_text`, and nothing else of ours. `client.connection` and
`client.transfers` know no terminal and print nothing.
"""
