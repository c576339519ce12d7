"""Measurements of the server on this machine: figures, never pass or fail. `python -m benchmarks
--help`.

`__main__` is the door; `workloads` holds what is measured, one function each; `load` is the process
that loads a server, `wire_formats` what it speaks; `peers` starts the server and its peers;
`machine` reads CPU and memory; `targets` is the table; `plots` and `page` show it. Imports nothing
of the product: it is measured from outside, as a client meets it.
"""
