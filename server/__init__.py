"""Puts a server process together: start and stop, the HTTP application, the pages."""
