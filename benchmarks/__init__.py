"""Every figure that we quote, as a script that prints it. See README.md."""
