"""Gather the groups of a step: play prompts, have them ranked, replace what teaches nothing.

A group is ranked as soon as it is played, while others are still played. Groups are kept in the
order of their prompts, so that the order in which they are done changes nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from threading import Event, Lock

from podium_trainer.config import TrainConfig
from podium_trainer.gathering.activity import Activity
from podium_trainer.records.rows.gathered import Gathered
from podium_trainer.records.step import lost_line
from podium_trainer.records.watcher import Watcher
from podium_trainer.rollout.rollout import Rollout
from podium_trainer.samplers import SamplingFailed
from podium_trainer.tasks.task import Prompt, PromptCursor
from podium_trainer.update.ranker import Ranker, Ranking


class GatherStopped(Exception):
    """The run ends, and nobody wants the groups of this gather."""


class Gatherer:
    """Gathers the groups of steps, of any number of steps at the same time.

    Args:
        config: all settings.
        rollout: plays prompts with the sampler.
        ranker: asks the reward service.
        cursor: gives out the prompts.
        activity: is told what goes on.
        watcher: the display; it must take calls from any thread.
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        rollout: Rollout,
        ranker: Ranker,
        cursor: PromptCursor,
        activity: Activity,
        watcher: Watcher,
    ) -> None:
        self.config = config
        self.rollout = rollout
        self.ranker = ranker
        self.watcher = watcher
        self._cursor = cursor
        self._activity = activity
        self._stopped = Event()
        self._lock = Lock()
        self._places: dict[int, int] = {}
        self._progress: dict[int, dict[str, tuple[int, int]]] = {}
        self._shown: int | None = None

    def begin(self, step: int) -> Callable[[], Gathered]:
        """Take the first prompts of a step; what is returned does the rest, in any thread."""
        with self._lock:
            self._places[step] = self._cursor.num_taken
            first = self._cursor.take(self.config.rollout.prompts_per_step)
        return partial(self._gather, step, first)

    def place(self, step: int) -> int:
        """Return the number of prompts given out before a step, where a resumed run begins with it.

        Earlier gathers may have taken more since then to replace groups; those are played again.
        """
        with self._lock:
            self._places = {s: place for s, place in self._places.items() if s >= step}
            return self._places.get(step, self._cursor.num_taken)

    @contextmanager
    def shown(self, step: int) -> Iterator[None]:
        """Show the progress of a step's gather, and of no other, while the block runs."""
        with self._lock:
            self._shown = step
            phase = self._phase(step)
        if phase:
            self.watcher.phase(*phase)
        try:
            yield
        finally:
            with self._lock:
                self._shown = None
                self._progress.pop(step, None)

    def stop(self) -> None:
        """End all gathers at once, with the requests and the environments that they wait for."""
        self._stopped.set()
        self.rollout.sampler.close()
        self.ranker.client.close()
        self.rollout.world.end()

    def _gather(self, step: int, first: Sequence[Prompt]) -> Gathered:
        """Return the groups of a step.

        Groups that the sampler fails at, without a ranking or without signal are replaced by groups
        of new prompts, at most `rollout.max_refills` times.
        """
        config = self.config.rollout
        gathered = Gathered(group_size=config.group_size)
        prompts: Sequence[Prompt] = first
        for attempt in range(1 + config.max_refills):
            if attempt:
                missing = config.prompts_per_step - len(gathered.kept)
                if not missing:
                    break
                with self._lock:
                    prompts = self._cursor.take(missing)
            self._play_and_rank(step, attempt, prompts, gathered)
        if gathered.lost:
            self.watcher.note(f"step {step}: {lost_line(gathered)}")
        return gathered

    def _play_and_rank(
        self, step: int, attempt: int, prompts: Sequence[Prompt], gathered: Gathered
    ) -> None:
        """Play prompts, have each group ranked once it is played, and add them to the gathered."""
        seed, failures = f"{self.config.seed}/{step}/{attempt}", {}
        show = partial(self._show, step)
        for name in ("rank", "rollout"):
            show(name, 0, len(prompts))
        with Ranking(
            self.ranker,
            step,
            len(prompts),
            asking=partial(self._part, "rank", gathered),
            on_progress=partial(show, "rank"),
        ) as ranking:
            playing = self.rollout.play(prompts, self.config.rollout.group_size, seed=seed)
            with self._part("rollout", gathered), closing(playing):
                for done, (place, group) in enumerate(playing, 1):
                    if isinstance(group, SamplingFailed):
                        failures[place] = group
                    else:
                        ranking.add(place, prompts[place], group)
                    show("rollout", done, len(prompts))
            ranked = ranking.finish()
        gathered.lost += [failures[place] for place in sorted(failures)]
        gathered.seen += ranked
        gathered.kept += [group for group in ranked if group.has_signal]

    @contextmanager
    def _part(self, name: str, gathered: Gathered) -> Iterator[None]:
        """Time a part of a gather in one of its threads."""
        if self._stopped.is_set():
            raise GatherStopped
        with gathered.clock.time(name), self._activity.part(name):
            yield

    def _show(self, step: int, name: str, done: int, total: int) -> None:
        with self._lock:
            self._progress.setdefault(step, {})[name] = (done, total)
            phase = self._phase(step) if step == self._shown else None
        if phase:
            self.watcher.phase(*phase)

    def _phase(self, step: int) -> tuple[str, int, int] | None:
        """Return the progress of a step's rollout until it is done, and then of its ranking."""
        progress = self._progress.get(step, {})
        for name in ("rollout", "rank"):
            done, total = progress.get(name, (0, 0))
            if done < total:
                return name, done, total
        return None
