"""What every other part of the server stands on: settings, limits, locks, logs."""
