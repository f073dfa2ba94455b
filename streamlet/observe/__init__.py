"""Progress and metrics: they read facts and own no protocol state.

`facts` is what is known at one moment; `catalogue` makes metrics of it, `health` and `standstill` say what is wrong,
`progress` is what a person sees, and `serving` answers over HTTP.

May import: contracts
"""
