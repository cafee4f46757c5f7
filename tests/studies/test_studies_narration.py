"""What a narrator tells: a bar that moves on from job to job, or a line for each."""

from auglean.studies import Narrator, narration


def test_the_bar_moves_with_the_jobs_and_their_steps(monkeypatch):
    monkeypatch.setattr(narration, "watched", lambda: True)
    narrator, seen = Narrator(lines=True), []

    def look():
        (task,) = narrator._bar.tasks
        seen.append((task.completed, task.total, task.description))

    with narrator.telling(3, 10):
        narrator.skipped("before")
        with narrator.job("quick"):  # tells no steps
            look()
        with narrator.job("slow"):
            look()
            narrator.progress(4)
            look()
    assert [done for done, _, _ in seen] == [10, 20, 24]
    assert seen[1][1:] == (30, "slow (3 of 3)")


def test_lines_where_there_is_no_terminal(capsys):
    for narrator in (Narrator(lines=True), Narrator()):
        with narrator.telling(2, 10):
            narrator.say("a plan")
            narrator.skipped("one")
            with narrator.job("two"):
                narrator.progress(3)
    said = capsys.readouterr().err.splitlines()
    assert said[:2] == ["a plan", "1 of 2: one, done before"]
    assert said[2].startswith("2 of 2: two, ")
    assert len(said) == 3
