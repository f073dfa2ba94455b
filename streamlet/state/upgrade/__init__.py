"""What becomes of a checkpoint's state when the job file has changed: it goes on exactly, or is refused with the edit
that helps.

`comparing` sets the states of a checkpoint beside those of a job, and reads nothing else; `entries` makes new values of
restored ones on their way into a store.

May import: contracts, state, state.encoding, state.evolution
"""
