"""What outlives the process: one SQLite database, and flat files beside it.

`database` begins and commits, `schema` says what the tables look like, and each table has its
module (`accounts`, `rooms`, `messages`, `uploads`, `meta`): SQL in, records out. `folder` owns the
data folder, `upload_files` and `journal` the flat files, `passwords` the hashes, `portable` every
difference between operating systems. Nothing in here knows packets, sockets or sessions.
"""
