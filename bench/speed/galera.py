"""MariaDB with Galera as Debian has it: three nodes, each commit flushed on each (innodb_flush_log_at_trx_commit=1).

It speaks SQL, so wrk cannot load it: single statements come from mariadb-slap, which tells no percentiles, and bulk from the `mariadb`
client that reads a file. Both are C programs that come with it. Its nodes run as Debian's user `mysql`: rsync, which carries the first
state to a new node, gives up root's rights and could not read what root wrote. So this takes root.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from ddbd.cli.local import eventually, free_ports

from .machine import Child, end, first_line
from .system import PAYLOAD, new_folder
from .wrk import LoadFailed

PROVIDERS = ("/usr/lib/galera/libgalera_smm.so", "/usr/lib/libgalera_smm.so")
ROW = f"'{PAYLOAD['name']}','{PAYLOAD['grade']}','{PAYLOAD['text']}'"
BATCH = 1_000
TABLE = "(row_id VARCHAR(64) CHARACTER SET ascii PRIMARY KEY, name VARCHAR(64), grade VARCHAR(8), text VARCHAR(255){})"
STATEMENT_SECONDS = 300.0


class Galera:
    name = "Galera"

    def __init__(self, parent: Path) -> None:
        self._folder = folder = new_folder(parent, "galera")
        ports = free_ports(12)
        self.addresses = [f"127.0.0.1:{port}" for port in ports[:3]]
        provider = next(path for path in PROVIDERS if Path(path).exists())
        peers = ",".join(f"127.0.0.1:{ports[3 + 3 * number]}" for number in range(3))
        self.nodes = []
        for number in range(3):
            peer, incremental, state = ports[3 + 3 * number : 6 + 3 * number]
            options = f"gmcast.listen_addr=tcp://127.0.0.1:{peer};ist.recv_addr=127.0.0.1:{incremental};gcache.size=512M"
            words = [
                *("mariadbd", "--no-defaults", "--user=mysql", f"--datadir={folder / str(number)}", f"--socket={self._socket(number)}"),
                *("--bind-address=127.0.0.1", f"--port={ports[number]}", f"--pid-file={folder / f'{number}.pid'}", "--skip-name-resolve"),
                *("--max-connections=1000", "--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--innodb-flush-log-at-trx-commit=1"),
                *(
                    "--innodb-buffer-pool-size=512M",
                    "--wsrep-on=ON",
                    f"--wsrep-provider={provider}",
                    f"--wsrep-cluster-address=gcomm://{peers}",
                ),
                *(f"--wsrep-node-address=127.0.0.1:{peer}", f"--wsrep-provider-options={options}", f"--wsrep-node-name=n{number}"),
                *("--wsrep-sst-method=rsync", f"--wsrep-sst-receive-address=127.0.0.1:{state}", "--wsrep-slave-threads=4"),
            ]
            self.nodes.append(Child(words, folder, folder / f"{number}.log"))

    def _socket(self, number: int) -> str:
        return str(self._folder / f"{number}.sock")

    def start(self) -> None:
        self._folder.parent.chmod(0o711)  # Debian's user of that name must come through
        shutil.chown(self._folder, "mysql", "mysql")
        for number in range(3):
            where, plain = f"--datadir={self._folder / str(number)}", "--auth-root-authentication-method=normal"
            words = ["mariadb-install-db", "--no-defaults", "--user=mysql", where, plain, "--skip-test-db", "--skip-name-resolve"]
            subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        first, *others = self.nodes
        first.command.append("--wsrep-new-cluster")
        first.start()
        eventually(lambda: self._is_member(0), "the first node of Galera", 60)
        for number, node in enumerate(others, 1):
            node.start()
            eventually(lambda number=number: self._is_member(number, number + 1), "a node of Galera", 60)  # type: ignore[misc]
        self.sql("CREATE DATABASE bench")
        for table in ("writes", "reads", "bulk"):
            self.sql(f"CREATE TABLE bench.{table} {TABLE.format('')}")
        self.sql(f"CREATE TABLE bench.people {TABLE.format(', KEY (name)')}")
        self.sql(f"INSERT INTO bench.reads SELECT CONCAT('reads0', LPAD(seq, 9, '0')), {ROW} FROM bench.seq_0_to_9999")

    def _is_member(self, number: int, size: int = 1) -> bool:
        node = self.nodes[number]
        if not node.running:
            raise LoadFailed(f"a node of Galera ended: {node.log_tail()}")
        try:
            found = self.sql("SHOW STATUS WHERE Variable_name IN ('wsrep_ready', 'wsrep_cluster_size')", number, seconds=5)
        except (LoadFailed, subprocess.TimeoutExpired):
            return False
        return re.search(rf"wsrep_cluster_size\s+{size}$", found, re.MULTILINE) is not None and "wsrep_ready\tON" in found

    def client(self, number: int = 0) -> list[str]:
        return ["mariadb", "--no-defaults", "-uroot", f"--socket={self._socket(number)}", "--batch", "--skip-column-names"]

    def sql(self, statement: str, number: int = 0, seconds: float = STATEMENT_SECONDS) -> str:
        done = subprocess.run([*self.client(number), "-e", statement], capture_output=True, text=True, timeout=seconds, check=False)
        if done.returncode:
            raise LoadFailed(f"Galera: {statement[:100]}: {done.stderr[-300:]}")
        return done.stdout

    def slap(self, statement: str, connections: int, seconds: float, probe: int = 256) -> tuple[float, int]:
        """Statements a second, and how many there were in all. mariadb-slap takes a number, not a time: a probe finds the number."""
        number = max(1, int(probe / self._slap(statement, connections, probe) * seconds / connections)) * connections
        return number / self._slap(statement, connections, number), probe // connections * connections + number

    def _slap(self, statement: str, connections: int, number: int) -> float:
        words = ["mariadb-slap", "--no-defaults", "-uroot", f"--socket={self._socket(0)}", "--create-schema=bench", "--no-drop", "--csv"]
        more = [f"--concurrency={connections}", f"--number-of-queries={number}", f"--query={statement}", "--delimiter=;"]
        done = subprocess.run([*words, *more], capture_output=True, text=True, timeout=STATEMENT_SECONDS, check=False)
        if done.returncode or not done.stdout.strip():  # it ends with 0 where the statement is wrong
            raise LoadFailed(f"mariadb-slap: {done.stderr[-300:]}")
        return float(done.stdout.strip().split(",")[2])

    def close(self) -> None:
        end(self.nodes)

    def version(self) -> str:
        provider = self.sql("SHOW STATUS LIKE 'wsrep_provider_version'").split()[-1]
        return f"MariaDB {first_line('mariadbd', '--version').split()[2]}, Galera {provider}"

    def pids(self) -> list[int]:
        return [node.pid for node in self.nodes if node.running]

    def leader(self) -> int:
        return 0

    def count(self) -> int:
        return self._count(0)

    def _count(self, number: int) -> int:
        tables = "+".join(f"(SELECT COUNT(*) FROM bench.{table})" for table in ("writes", "reads", "bulk", "people"))
        return int(self.sql(f"SET SESSION wsrep_sync_wait = 1; SELECT {tables}", number))

    def agree(self) -> list[int]:
        return [self._count(number) for number in range(3)]


def insert_file(path: Path, table: str, stem: str, rows: int, first: int = 0) -> None:
    """INSERTs of 1,000 rows each, with the keys and names that load.lua gives."""
    rest = f"'{PAYLOAD['grade']}','{PAYLOAD['text']}'"
    with path.open("w") as out:
        for start in range(first, first + rows, BATCH):
            values = ",".join(f"('{stem}{n:09}','n{n:09}',{rest})" for n in range(start, start + BATCH))
            out.write(f"INSERT INTO {table} VALUES {values};\n")
