"""A doctor now: requests that ring at several doctors until one accepts."""
