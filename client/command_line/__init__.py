"""The command line of `chat_client.py`: its options, and the settings that are remembered."""
