"""The parts made, started and stopped; the threads that accept, serve and watch."""
