"""Join links: what they say, what a click makes of them, and invitations for a third person."""
