"""What lies in input/: archives unpacked, images and tables listed, the image that an id means found."""
