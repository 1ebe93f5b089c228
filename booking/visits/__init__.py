"""Visits as calls: who has a seat in one, the token of its room, what it tells the appointment, what screens show."""
