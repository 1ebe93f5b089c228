"""The visit: people, clinics, hours, appointments. Knows calls only as a room name and a signed token."""
