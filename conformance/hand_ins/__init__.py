"""A class's hand-ins: graded one after another and side by side, each alone with its limits.

`hand_in` reads a folder, `limits` is the program that holds one hand-in to its limits, `grading`
runs the kit on it, `likeness` compares hand-ins, `tables` makes the teacher's pages, and `command`
is `python -m conformance class`.
"""
