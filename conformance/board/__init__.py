"""The board: a page on the wall that shows how far each student's program has come.

`command` is the teacher's program, over `rows` (who has told what), `keeping` (its file) and the
files of `page/`. `telling` is the kit's side (`--tell`), and `told` what a run tells. Neither
source code nor anything that a student's program said is ever sent.
"""
