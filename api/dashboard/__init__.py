"""The dashboard: pages for people, made on the server, by the same functions that answer programs."""
