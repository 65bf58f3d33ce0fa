"""A study's progress, round by round: finished cells are read, the others are trained, a failed one is noted."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from supcon.cluster.tasks import Outcome, Runner, Task
from supcon.errors import UserError
from supcon.run.experiment import Experiment
from supcon.storage.files import remove
from supcon.study.cells import Results, failure_file, read_failure, read_scores, run_cell, write_failure
from supcon.study.compare import VariantResult, rank_variants
from supcon.study.read import Round, Study
from supcon.study.runs import Cell, Runs


@dataclass(frozen=True)
class RoundResult:
    """One round, as far as its cells are done."""

    number: int  # from 1
    plan: Round
    cells: list[Cell]
    variants: list[VariantResult]  # best first
    missing: list[Cell]  # cells without a score or a failure yet
    survivors: list[str]  # who goes on, in the study file's order; what others are compared with always


class Progress:
    """What is known of a study's cells, and the training of those that are left."""

    def __init__(self, study: Study, runs: Runs, *, force: bool = False) -> None:
        """Take `force` to redo what failed or was made otherwise."""
        self._study, self._runs, self._force = study, runs, force
        self.results = Results()
        self.outcomes: list[Outcome] = []  # of the cells that this call has trained

    def rounds(self) -> list[RoundResult]:
        """Return the rounds up to the first that is not complete, by the results so far."""
        rounds: list[RoundResult] = []
        variants = list(self._study.variants)
        for number, plan in enumerate(self._study.rounds, 1):
            rounds.append(self._judge(number, plan, variants))
            if rounds[-1].missing:
                break
            variants = rounds[-1].survivors
        return rounds

    def cells_to_do(self) -> list[Cell]:
        """Read what is finished, and return the cells that the first incomplete round lacks; none: the study is done.

        Raises `UserError` when other settings made what is there, before the round trains anything.
        """
        while missing := self.rounds()[-1].missing:
            lacking = [cell for cell in missing if not self._read(cell)]
            if lacking:
                return lacking
        return []

    def train(self, cells: Sequence[Cell], runner: Runner) -> Iterator[None]:
        """Train and score cells, and yield after each. Whatever stops one is noted, and the study goes on."""
        known = len(self.results.scores) + len(self.results.failures)
        print(f"study: {len(cells)} cells to do, {known} of {self.planned()} are known", flush=True)
        tasks, of = list[Task](), dict[str, tuple[Cell, Experiment]]()
        for cell in cells:
            experiment = self._runs.experiment(cell.variant, cell.seed)
            experiment.open_training_images()  # decoded before, by all cores together
            experiment.open_prediction_images()
            remove(failure_file(experiment, cell.fold))
            log = experiment.request.fold_folder(cell.fold) / "log.txt"
            of[str(cell)] = cell, experiment
            tasks.append(Task(str(cell), run_cell, (experiment.request, cell.fold, self._force), log, str))
        for outcome in runner.run(tasks):
            self.outcomes.append(outcome)
            cell, experiment = of[outcome.task.name]
            if outcome.failure:
                write_failure(experiment, cell.fold, outcome.failure)
                self.results.failures[cell] = outcome.failure
            else:
                self.results.scores[cell] = outcome.value
            yield

    def require_baseline(self) -> None:
        """Raise `UserError` where the baseline failed everywhere in a round: nothing is compared there."""
        for result in self.rounds():
            base = next(line for line in result.variants if line.variant == self._study.baseline)
            if base.failures and not base.scored:
                cell, reason = next(iter(base.failures.items()))
                raise UserError(
                    f"{cell}, the baseline, failed: {reason}; mend it, and --force tries failed cells again"
                )

    def planned(self) -> int:
        """Return how many different cells the study has, as many going on as the rounds ask for."""
        total, variants, seen = 0, len(self._study.variants), set[tuple[int, int]]()
        standing = len(self._study.compared_with)
        for plan in self._study.rounds:
            pairs = set(self._pairs(plan))
            total += variants * len(pairs - seen)
            seen |= pairs
            variants = standing + plan.kept(variants - standing) if variants > standing else standing
        return total

    def text(self) -> str:
        """Return every cell of the rounds so far with its state, and what the later rounds hold."""
        rounds, lines = self.rounds(), []
        for result in rounds:
            lines.append(f"round {result.number}: {len(result.missing)} of {len(result.cells)} cells to do")
            lines += [f"  {cell}: {self._state(cell)}" for cell in result.cells]
        for number, plan in enumerate(self._study.rounds[len(rounds) :], len(rounds) + 1):
            lines.append(f"round {number}: {len(self._pairs(plan))} cells for each variant that goes on")
        return "\n".join(lines)

    def _state(self, cell: Cell) -> str:
        if scores := self.results.scores.get(cell):
            return str(scores)
        return f"failed: {self.results.failures[cell]}" if cell in self.results.failures else "to do"

    def _judge(self, number: int, plan: Round, variants: list[str]) -> RoundResult:
        study, pairs = self._study, self._pairs(plan)
        cells = [Cell(variant, seed, fold) for variant in variants for seed, fold in pairs]
        ranked = rank_variants(self.results, variants, pairs, study.baseline, study.over)
        contenders = [line.variant for line in ranked if line.variant not in study.compared_with and line.complete]
        kept = {*study.compared_with, *contenders[: plan.kept(len(variants) - len(study.compared_with))]}
        missing = [cell for cell in cells if cell not in self.results]
        return RoundResult(number, plan, cells, ranked, missing, [name for name in variants if name in kept])

    def _pairs(self, plan: Round) -> list[tuple[int, int]]:
        """Return a round's (seed, fold)."""
        folds = range(self._runs.fold_count) if plan.folds is None else plan.folds
        return [(seed, fold) for seed in plan.seeds for fold in folds]

    def _read(self, cell: Cell) -> bool:
        """Take a cell's result from its files; say whether there is one."""
        experiment = self._runs.experiment(cell.variant, cell.seed)
        try:
            if experiment.finished(cell.fold):
                self.results.scores[cell] = read_scores(experiment, cell.fold)
                return True
        except UserError:
            if not self._force:
                raise
        reason = read_failure(experiment, cell.fold)
        if reason and not self._force:
            self.results.failures[cell] = reason
        return cell in self.results


def whole_runs(rounds: Sequence[RoundResult], fold_count: int) -> list[tuple[str, int]]:
    """Return the (variant, seed) of which every fold is scored, in the last round that is over all folds."""
    for outcome in reversed(rounds):
        if {cell.fold for cell in outcome.cells} == set(range(fold_count)):
            complete = {line.variant for line in outcome.variants if line.complete}
            return [(variant, seed) for variant in sorted(complete) for seed in outcome.plan.seeds]
    return []
