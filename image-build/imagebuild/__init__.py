"""What image-build/build and image-build/report are made of."""
