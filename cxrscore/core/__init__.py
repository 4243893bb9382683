"""What every part stands on: errors, files, locks, signals, the device, paths of outputs."""
