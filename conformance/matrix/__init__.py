"""Theirs and ours, each server with each client: 2 x 2 talks between real programs.

Owns the run of the four pairs (`runner`), one pair (`pair`), and what stands between its server and
its clients (`relay`). Nothing is asked of a pair that a user would not do: log in, say something,
answer, send a file, fetch it. What is seen on the wire decides.
"""
