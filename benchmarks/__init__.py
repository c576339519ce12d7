"""Measurements of the server on this machine: figures, never pass or fail. `python -m benchmarks
--help`.

`__main__` is the entry point. `workloads` lists what is measured; the measurements are functions of
`rooms`, `crowds` and `stored`, and `sizes` says how much of everything. `load` is the process that
loads a server, `wire_formats` what it speaks, `running` starts it. `peers` starts the server and
its peers. `machine` reads CPU and memory. `targets` is the table; `plots`, `svg`, `page` show it.
Imports nothing of the product: it is measured from outside, as a client meets it.
"""
