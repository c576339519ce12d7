"""The commands for scripts, and the doctor: one purpose each, then an exit status."""
