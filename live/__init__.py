"""Live views over one WebSocket: topics, who watches them, and what is pushed when something changes."""
