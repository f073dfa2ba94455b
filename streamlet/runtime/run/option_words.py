"""Settings as the command line calls them: whoever wrote an option there is told of that."""

from __future__ import annotations

from streamlet.errors import ConfigError

_REMEDIES = {
    "state_dir": "name a folder: --state-dir streamlet-state",
    "parallelism": "give a whole number from 1: --parallelism 4",
    "processes": "give a whole number from 1: --processes 2",
    "checkpoint_interval": "give a positive time: --checkpoint-interval 1s",
    "state_memory": "give a size of at least 1 MB: --state-memory 64MB",
}


def option_of(name: str) -> str:
    """Gives the option for a setting."""
    return f"--{name.replace('_', '-')}"


def in_words_of_the_command_line(error: ConfigError, name: str) -> ConfigError:
    """The error of a setting that an option gave: begins with the option, and its remedy is one to type."""
    is_about_others = not error.message.startswith(f"{name} is ")
    remedy = error.remedy if is_about_others else _REMEDIES.get(name, error.remedy)
    return ConfigError(f"{option_of(name)}: {error.message}", remedy=remedy)
