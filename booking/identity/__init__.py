"""Who somebody is: contacts and codes, passwords, sessions, second factors, roles, and people who act for others."""
