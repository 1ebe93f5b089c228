"""The TURN and STUN relay (RFC 8489, RFC 8656): see docs/decisions/0007-relay.md."""
