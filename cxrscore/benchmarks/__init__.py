"""What `bench` times, each against the way people write it by hand."""
