"""Interfaces of others, so that their clients can use this server: see docs/doors.md."""
