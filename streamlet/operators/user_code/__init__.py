"""What is said of the user's program: which line made a step, which line failed, what is no function of the kind asked.

`place` makes errors of user functions, `raised` words an exception, `misuse` finds mistakes before the job runs or at
the first result.

May import: contracts, state
"""
