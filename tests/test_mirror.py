"""Every module of the product is tested in a place that can be found: by its name, or by the list here.

`streamlet/state/log/file.py` is tested in `tests/unit/state/log/test_file.py`.  Where the tests of a module are others
(an operator is put under the recipe of all operators, a connector is tried against a broker), the list says which file
to open first.  An entry that is not true any more fails: the file must be there, and must reach the module.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = ROOT / "tests"
CONNECTORS = ROOT / "connectors" / "streamlet_connectors"

ELSEWHERE: dict[str, dict[str, str]] = {
    "connectors/files": {
        "chunks cursor finding reader records source": "unit/connectors/files/test_sources.py",
        "position content lineage": "unit/connectors/files/test_rotation.py",
        "csv_layout csv_records csv_types": "unit/connectors/files/test_csv.py",
        "committer output errors": "unit/connectors/files/test_sink.py",
    },
    "connectors/generator": {"source": "unit/connectors/test_generator.py"},
    "connectors/kafka/protocol": {
        "client greeting wire errors": "kafka/test_network_faults.py",
        "codes requests fetch_api unpacking": "unit/connectors/kafka/reading/test_fetching.py",
        "offsets": "unit/connectors/kafka/reading/test_new_partitions.py",
    },
    "connectors/kafka/reading": {
        "decoding records": "unit/connectors/kafka/reading/test_source_records.py",
        "held_back": "unit/connectors/kafka/reading/test_bad_records.py",
        "leaders partition_fetch": "unit/connectors/kafka/reading/test_fetching.py",
        "reader": "kafka/test_kafka_source_trouble.py",
        "source": "unit/connectors/kafka/reading/test_source_options.py",
    },
    "connectors/kafka/writing": {
        "committer coordination outcome transaction": "kafka/test_kafka_sink_settling.py",
        "delivery writer": "kafka/test_kafka_sink_writing.py",
        "extras refusals": "unit/connectors/kafka/writing/test_sink_records.py",
        "sink spec": "unit/connectors/kafka/protocol/test_options.py",
        "transaction_pool": "unit/connectors/kafka/writing/test_transactional_ids.py",
    },
    "": {
        "aggregates": "unit/operators/aggregates/test_collecting.py",
        "connect": "unit/test_task_group.py",
        "windows": "unit/runtime/task/test_lowest_watermark.py",
        "calling": "unit/operators/user_code/test_place.py",
        "clock ports": "unit/machine/test_disk.py",
        "crash_points": "simulation/test_simulated_crash_everywhere.py",
        "errors": "unit/dsl/test_language.py",
        "sink source": "unit/runtime/run/test_job_run.py",
    },
    "checkpoint": {
        "alignment": "protocol/test_alignment.py",
        "committer_client facts messages patience": "unit/checkpoint/test_coordinator.py",
        "durable": "simulation/test_simulated_disk.py",
        "finding": "unit/checkpoint/test_savepoints.py",
        "layout manifest_files": "unit/checkpoint/test_storage.py",
        "restore_point": "protocol/test_checkpoint_settling_model.py",
        "retention": "protocol/test_checkpoint_retention_model.py",
    },
    "cli": {
        "against": "unit/cli/test_plan_against.py",
        "asking": "unit/runtime/run/test_control.py",
        "checkpoints state places": "unit/cli/test_inspection.py",
        "dev": "unit/cli/test_run.py",
        "fold": "unit/state/test_store.py",
        "worker": "unit/cli/test_processes.py",
        "main plan": "unit/cli/test_run.py",
        "topics": "unit/cli/test_help.py",
    },
    "dsl": {
        "aggregating functions job keyed naming stream written asynchronous": "unit/dsl/test_dsl.py",
        "lookups": "unit/operators/joins/test_lookup.py",
    },
    "formats": {
        "contract plain recognising": "unit/formats/test_formats.py",
        "json json_reading": "unit/formats/test_reading.py",
        "json_writing": "unit/formats/test_writing.py",
    },
    "graph": {"describe job_graph validate": "unit/graph/test_plan.py"},
    "inspect": {
        "comparing parquet": "unit/inspect/test_checkpoint.py",
        "import_rows rows schemas": "unit/inspect/test_importing.py",
        "plain_forms plain_keys plain_types plain_values": "unit/inspect/test_values.py",
    },
    "machine": {
        "held_files": "unit/inspect/test_entries.py",
        "hosts threads local": "unit/runtime/run/test_job_run.py",
        "paths": "unit/cli/test_unusable_paths.py",
    },
    "observe": {"facts standstill": "unit/observe/test_catalogue.py", "health": "unit/test_outages.py"},
    "observe/serving": {
        "address guard server": "unit/observe/serving/test_app.py",
        "exposition": "unit/observe/test_catalogue.py",
    },
    "operators": {
        "built_in connected functions keying operator": "operators/test_recipes.py",
        "error_policy": "unit/operators/test_poison_law.py",
        "field_keys": "unit/dsl/test_language.py",
        "process_function timer_service": "unit/operators/test_process_timers.py",
        "timestamps watermark_strategy": "unit/runtime/task/test_split_watermarks.py",
    },
    "operators/aggregates": {
        "functions": "operators/test_recipes.py",
        "identity": "unit/state/evolution/test_edits.py",
    },
    "operators/asynchronous": {"in_flight retry": "unit/operators/asynchronous/test_map_async.py"},
    "operators/joins": {
        "as_of buffers interval operator window": "operators/test_recipes.py",
        "settings": "unit/operators/joins/test_join_evolution.py",
    },
    "operators/user_code": {"raised": "unit/operators/user_code/test_errors_of_functions.py"},
    "operators/windows": {
        "assigners contents operator panes session sliding triggered triggers tumbling": "operators/test_recipes.py",
        "settings": "unit/operators/windows/test_window_evolution.py",
    },
    "runtime/job": {
        "assembly attempt discovery surroundings": "unit/runtime/run/test_job_run.py",
        "foreseen": "unit/test_limits.py",
        "hosting": "unit/cli/test_processes.py",
        "loop_watch": "unit/runtime/run/test_job_run_failures.py",
        "renaming restored restoring": "unit/runtime/run/test_job_run_restoring.py",
        "savepoints": "unit/checkpoint/test_savepoints.py",
    },
    "runtime/processes": {
        "frames": "protocol/test_exchange_frames.py",
        "link": "unit/runtime/processes/test_socket_channel.py",
        "messages": "unit/runtime/processes/test_failures.py",
        "worker worker_host": "unit/cli/test_processes.py",
    },
    "runtime/run": {
        "importing option_words": "unit/cli/test_run.py",
        "reading serve": "unit/observe/serving/test_app.py",
        "limits signals stopping": "unit/runtime/run/test_job_run_idle.py",
    },
    "runtime/task": {
        "alarm": "unit/runtime/run/test_job_run_time.py",
        "columns": "protocol/test_exchange_frames.py",
        "control exchange gated_subtask pressure wiring": "unit/runtime/run/test_job_run.py",
        "pace": "unit/runtime/task/test_backlog.py",
        "chain_facts meter side_outputs stopwatch": "unit/observe/test_catalogue.py",
        "input_gate": "unit/runtime/task/test_channel_watermarks.py",
        "left_out": "unit/dsl/test_key_policies.py",
        "snapshots source_subtask subtask": "unit/runtime/run/test_job_run.py",
    },
    "state": {
        "binding declaration descriptor descriptors": "unit/state/test_handles.py",
        "broadcast": "unit/dsl/test_connected.py",
        "lifetimes": "unit/state/test_expiring.py",
        "snapshot": "unit/state/test_identity.py",
    },
    "state/backends": {
        "folding rocksdb_database": "unit/state/log/test_file.py",
        "key_notes": "unit/state/encoding/test_key_type.py",
        "logged memory rocksdb": "protocol/test_state_model.py",
    },
    "state/encoding": {
        "codec extensions": "unit/state/encoding/test_types.py",
        "key_groups": "unit/state/test_store.py",
    },
    "state/evolution": {
        "converting describing differing findings needs parts schema": "unit/state/evolution/test_evolution.py",
    },
    "state/log": {"delta log_set replayed": "unit/state/test_store.py"},
    "state/memory": {
        "cells state_cells undo": "unit/state/test_burial.py",
        "timers": "protocol/test_timers_model.py",
    },
    "state/upgrade": {"comparing entries": "unit/state/evolution/test_edits.py"},
    "testing": {
        "collecting streams": "unit/testing/test_lists.py",
        "disk durability": "simulation/test_simulated_disk.py",
        "errors process patches": "simulation/test_simulated_failures.py",
        "loop ports priorities": "simulation/test_simulated_loop.py",
        "memory job_machine": "unit/testing/test_crashing.py",
        "network": "simulation/test_simulated_network.py",
    },
    "testing/kafka": {
        "embedded errors faults protocol server service": "unit/testing/test_simulated_broker_embedded.py",
        "simulated": "simulation/test_simulated_kafka.py",
    },
    "testing/kafka/apis": {
        "authentication call cluster groups": "unit/testing/test_simulated_broker_embedded.py",
        "records transactions wire": "unit/testing/test_simulated_broker_embedded.py",
    },
    "testing/kafka/model": {
        "batches broker codes log offsets": "unit/testing/test_simulated_broker.py",
        "producers settings topics transactions": "unit/testing/test_simulated_broker.py",
        "groups": "unit/testing/test_simulated_broker_groups.py",
    },
}
"""Folder of the product -> its modules -> where they are tested, below `tests/`."""


def _modules() -> dict[str, Path]:
    """Every module by its place, such as `state/log/file` or `connectors/kafka/writing/sink`."""
    found = {}
    for folder, before in ((ROOT / "streamlet", ""), (CONNECTORS, "connectors/")):
        for path in folder.rglob("*.py"):
            if not path.name.startswith("__"):
                found[f"{before}{path.relative_to(folder).with_suffix('')}"] = path
    return found


def _listed() -> dict[str, str]:
    return {
        f"{folder}/{name}".lstrip("/"): test
        for folder, entries in ELSEWHERE.items()
        for names, test in entries.items()
        for name in names.split()
    }


def _own(place: str) -> Path:
    folder, _, name = place.rpartition("/")
    return TESTS / "unit" / folder / f"test_{name}.py"


@cache
def _imported(path: Path) -> frozenset[Path]:
    """The files of this repository that a file imports, wherever in it, or starts by name."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Constant) and str(node.value).startswith("streamlet."):
            names.add(str(node.value))  # started by its name, in a process of its own
    found = set()
    for name in names:
        top = CONNECTORS.parent if name.startswith("streamlet_connectors") else ROOT
        base = top / name.replace(".", "/")
        found |= {base.with_suffix(".py"), base / "__init__.py"}
    return frozenset(one for one in found if one.is_file())


def _reached(path: Path) -> set[Path]:
    found, left = {path}, [path]
    while left:
        new = _imported(left.pop()) - found
        found |= new
        left += new
    return found


def test_each_module_is_tested_by_its_name_or_as_the_list_says() -> None:
    listed = _listed()
    own = {place for place in _modules() if _own(place).is_file()}
    assert sorted(set(_modules()) - own - set(listed)) == [], "say where these are tested"
    assert sorted(set(listed) - set(_modules())) == [], "these are no modules any more"
    assert sorted(own & set(listed)) == [], "these have a file of their own"


@pytest.mark.parametrize("test", sorted(set(_listed().values())))
def test_the_list_is_true(test: str) -> None:
    assert (TESTS / test).is_file()
    reached = _reached(TESTS / test)
    modules = _modules()
    assert [place for place, where in _listed().items() if where == test and modules[place] not in reached] == []
