"""Grading a server: the kit plays its clients.

Owns the cases about servers, what they use, and the run. Imports nothing of `conformance.client`.
"""
