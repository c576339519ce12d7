"""What all other parts of the server use: settings, limits, locks, logs."""
