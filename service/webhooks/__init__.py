"""Webhooks: the end of a job, told to a URL, signed and tried again until it is taken."""
