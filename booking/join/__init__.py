"""Coming to a visit: links, seats, the waiting room, tokens for the call, and what the call tells the appointment."""
