"""The waiting room and the line before it: who has arrived, who is next, who is let in, who walks in."""
