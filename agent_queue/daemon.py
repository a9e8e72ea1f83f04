"""The daemon: wires everything, runs the frontends and the cycle side by side, and ends cleanly."""

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog
from apscheduler.job import Job
from apscheduler.schedulers.asyncio import AsyncIOScheduler
from pydantic import BaseModel

import agent_queue
from adapters import catalog
from agent_queue import configuration
from agent_queue.frontends import Connection
from agent_queue.logs import configure as configure_logs
from bots import registry
from bots.gateway import Gateway
from orchestrator.delivery.relay import Relay
from orchestrator.errors import UserError
from orchestrator.jobs import ended
from orchestrator.orchestrator import Orchestrator
from orchestrator.redaction import Redactor
from orchestrator.settings import Settings
from orchestrator.store.database import Signal
from orchestrator.store.outbox import key_of
from orchestrator.transport import Frontend, Post

log = structlog.get_logger(__name__)

CYCLE_PATIENCE = 1.0
"""Seconds that a cycle at work gets to end at shutdown."""
_ALARM_MIN = 0.1
"""Seconds between a cycle and the next that is due by the clock, though the first has left what was due."""


class AlreadyRunning(UserError):
    """Another daemon uses the same data folder."""


@contextlib.contextmanager
def sole_user(data_dir: Path) -> Iterator[None]:
    """Hold the data folder's lock, or raise AlreadyRunning. The system frees it however we end."""
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (data_dir / "daemon.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise AlreadyRunning(
                f"a daemon (process {lock.read().strip() or 'unknown'}) already uses {data_dir}; "
                "stop it first, or give this one another data_dir"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


Create = Callable[..., Frontend]
"""What makes a frontend of its section, as `bots.registry.create` does."""


class Daemon:
    """One run of the daemon, from a loaded configuration to a clean end."""

    def __init__(
        self, settings: Settings, *, create: Create = registry.create, private: Sequence[Path] = ()
    ) -> None:
        """*private* are files that no agent in a sandbox can read."""
        self.settings = settings
        self._private = private
        self._create = create
        self.restart_requested = False
        self.failed = False
        """A part of us died, which is why we ended."""
        self._ending = asyncio.Event()
        self._connections: list[Connection] = []
        self._cycle_job: Job | None = None
        self._cycle_due = False
        self._cycle_done = asyncio.Event()
        self._cycle_done.set()
        self._cycling: asyncio.Task[None] | None = None
        self._timers_due = 0.0
        self._alarm: asyncio.TimerHandle | None = None

    def request_restart(self) -> None:
        """End, and begin again."""
        self.restart_requested = True
        self._ending.set()

    def request_stop(self) -> None:
        """End."""
        self._ending.set()

    async def run(self) -> bool:
        """Run until it is asked to end or to restart; returns whether the latter."""
        names = self.settings.frontends
        self.settings.database.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.orchestrator = Orchestrator(
            self.settings,
            homes={name: registry.home(name, section) for name, section in names.items()},
            sigils={name: registry.sigils(section) for name, section in names.items()},
            private=self._private,
            supervisor=[sys.executable, "-m", "agent_queue.supervise"],
            check_agent=catalog.check,
            version=agent_queue.__version__,
            request_restart=self.request_restart,
            frontends=lambda: {c.frontend.name: c for c in self._connections},
        )
        await self.orchestrator.initialize()
        self.gateway = Gateway(self.orchestrator.services)
        self._connections = [self._connection(name, section) for name, section in names.items()]
        try:
            async with self._running():
                await self._ending.wait()
        finally:
            await self.orchestrator.shutdown()
        return self.restart_requested

    async def run_until_signal(self) -> bool:
        """Run, and end at SIGTERM and SIGINT as well."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.request_stop)
        try:
            return await self.run()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    @property
    def connected(self) -> bool:
        """Whether every frontend is."""
        return bool(self._connections) and all(c.state == "connected" for c in self._connections)

    def _connection(self, name: str, section: BaseModel) -> Connection:
        one = self.orchestrator
        frontend: Frontend = self._create(
            name, section, database=one.database, data_dir=self.settings.data_dir, redact=one.redact
        )
        relay = Relay(one.database, frontend, clock=time.time, redact=one.redact)
        return Connection(frontend, relay, self.gateway, report=self._report)

    async def _report(self, name: str, words: str) -> None:
        """Tell the people on the other frontends what has become of one."""
        async with self.orchestrator.database.transaction() as tx:
            post = Post(text=f"🔌 {name} {words}.")
            key = key_of("frontend", name, words, time.time())
            await self.orchestrator.speaker.notify(tx, post, None, key=key, but=name)

    @contextlib.asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        """Frontends, gateway, relays and the cycle; taken down in the order that loses nothing."""
        intake = asyncio.create_task(self.gateway.run(), name="gateway")
        links = [asyncio.create_task(c.run(), name=f"frontend {c.frontend.name}") for c in self._connections]
        relays = [
            asyncio.create_task(c.relay.run(), name=f"relay {c.frontend.name}") for c in self._connections
        ]
        starter = asyncio.create_task(self._start_cycle(), name="starter")
        self._scheduler = AsyncIOScheduler(timezone="UTC")
        watch = [intake, *relays, starter]
        for task in watch:
            task.add_done_callback(self._died)
        log.info("daemon.started", version=agent_queue.__version__, pid=os.getpid())
        try:
            yield
        finally:
            log.info("daemon.ending", restart=self.restart_requested)
            for task in watch:
                task.remove_done_callback(self._died)
            await ended(intake)
            flush = self.settings.delivery.flush_seconds
            await asyncio.gather(*(c.relay.flush(flush) for c in self._connections if c.state == "connected"))
            await ended(*links, *relays)
            await asyncio.gather(*(c.frontend.close() for c in self._connections))
            await ended(starter)
            await self._stop_cycle()

    def _died(self, task: asyncio.Task[None]) -> None:
        """A part that must run for ever has ended: end as a whole, so that a supervisor starts us anew."""
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error("daemon.part_died", part=task.get_name(), exc_info=fault)
            self.failed = True
            self._ending.set()

    async def _start_cycle(self) -> None:
        """Run the cycle from the moment that every frontend is ready or has failed once; wake it when due."""
        await asyncio.gather(*(c.attempted.wait() for c in self._connections))
        self._cycle_job = self._scheduler.add_job(
            self._cycle,
            "interval",
            seconds=self.settings.cycle_seconds,
            next_run_time=datetime.now(UTC),
            max_instances=1,
            coalesce=True,
            misfire_grace_time=None,
            id="cycle",
        )
        self.orchestrator.database.on(Signal.WORK, self._wake_cycle)
        self._scheduler.start()

    async def _cycle(self) -> None:
        """The scheduled job: one cycle, and another for what has come meanwhile."""
        self._cycle_done.clear()
        self._cycling = asyncio.current_task()
        self._cycle_due = True
        try:
            while self._cycle_due:
                self._cycle_due = False
                timers = time.monotonic() >= self._timers_due
                if timers:
                    self._timers_due = time.monotonic() + self.settings.cycle_seconds * 0.9
                await self.orchestrator.run_one_cycle(timers=timers)
                await self._set_alarm()
        finally:
            self._cycling = None
            self._cycle_done.set()

    async def _stop_cycle(self) -> None:
        """Start no cycle any more, and let the one at work come to its end."""
        if not self._scheduler.running:
            return
        self._scheduler.pause()
        self._cycle_due, self._cycle_job = False, None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._cycle_done.wait(), CYCLE_PATIENCE)
        self._scheduler.shutdown(wait=False)

    def _wake_cycle(self) -> None:
        """There is something to do: run the job now instead of at its next time.

        What a cycle changes itself, it goes on with itself: its steps stand in the order of their effects.
        """
        if self._cycling is None or asyncio.current_task() is not self._cycling:
            self._cycle_now()

    def _cycle_now(self) -> None:
        self._cycle_due = True
        if self._cycle_done.is_set() and self._cycle_job is not None:
            self._cycle_job.modify(next_run_time=datetime.now(UTC))

    async def _set_alarm(self) -> None:
        """Have a cycle run at the second at which something is due, where that is sooner than the next one."""
        due = await self.orchestrator.due_at()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if due is not None and due - time.time() < self.settings.cycle_seconds:
            wait = max(_ALARM_MIN, due - time.time())
            self._alarm = asyncio.get_running_loop().call_later(wait, self._cycle_now)


def run(config_path: Path | None) -> int:
    """Run the daemon as users do; returns the exit code, or never, where a restart replaces the process."""
    settings = configuration.load_settings(config_path)
    configure_logs(settings.log_level, Redactor(settings))
    daemon = Daemon(settings, private=configuration.files(config_path))
    with sole_user(Path(settings.data_dir)):
        restart = asyncio.run(daemon.run_until_signal())
    if restart:
        log.info("daemon.restarting")
        restart_process()
    return int(daemon.failed)


def restart_process() -> None:
    """Replace this process by a new one of the same command line; the process id stays."""
    program = shutil.which(sys.argv[0]) or str(Path(sys.argv[0]).absolute())
    if program.endswith(".py"):
        os.execv(sys.executable, [sys.executable, *sys.argv])  # noqa: S606 - ourselves, without a shell
    os.execv(program, sys.argv)  # noqa: S606 - ourselves, without a shell
