"""What an image file says of itself, format by format, before anything is allocated."""
