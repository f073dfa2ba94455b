"""A long run of one job on a real broker under real faults, judged by an independent checker."""
