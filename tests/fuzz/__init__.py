"""Whatever bytes come in from outside, only declared errors come out: targets, and campaigns over them."""
