"""The machine itself behind the engine's ports. Only who starts a job (cli, job.run) and tests see this room.

May import: contracts
"""
