"""The schema's history, for Alembic: one revision a file in `versions`, applied by `service.jobs.schema`.

A revision is never changed once it was released. Servers of the version before go on while one of the next upgrades the
database that they share, so a revision only adds: tables, columns that are nullable or have a server default, indexes.
What is no longer used is dropped one release later.
"""
