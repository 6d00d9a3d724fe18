"""The command line: `pellucid`.

Modules here import click and the standard library only; torch and the codecs are loaded by the command that needs them.
"""
