"""Grading a client: the kit plays its server and types what a user would type.

Owns the cases about clients, what they use, and the run. Imports nothing of `conformance.server`.
"""
