"""A way through the kit in stages, with hints: for somebody who writes a server.

`plan` is the list of stages, `hints` tells where to look, and `walk` runs the stages and prints.
"""
