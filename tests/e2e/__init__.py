"""A real client on a real kernel: the installed package, started as a frontend starts it."""
