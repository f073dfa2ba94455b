"""One job over several processes of one machine: a parent that coordinates, and workers that host the subtasks."""
