"""What everything in the client stands on: harmless text, times, deadlines.

Imports `protocol` and nothing else of ours.
"""
