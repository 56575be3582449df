"""Make up tasks with answers of known quality: easy pairs of five kinds, and groups of sums.

Nothing is downloaded; the same seed makes the same tasks.

To add a kind of easy pair: write a function from a seeded generator to tasks with a good and a bad
answer; enter it in `KINDS`.
"""

import random
from collections.abc import Callable, Iterator
from itertools import islice

from benchmarks.groups import Group

Known = tuple[Group, list[float]]  # a group, and how good each of its answers is
Pair = tuple[str, str, str]  # a task, a good answer, a bad one

SUMMANDS, NUM_WRONG = (2, 99), 4

_ORDERS = (
    ("a blue kettle", "the lid does not close"),
    ("two concert tickets", "they are for the wrong evening"),
    ("a desk lamp", "the switch is broken"),
    ("a winter coat", "it is two sizes too small"),
    ("a box of tiles", "half of them are cracked"),
    ("a phone case", "it does not fit my phone"),
    ("a set of knives", "one of them is missing"),
    ("a birthday cake", "it came a day late"),
    ("a garden hose", "it leaks at the tap"),
    ("a pair of boots", "the left sole came off"),
    ("a used bicycle", "the brakes do not work"),
    ("a coffee machine", "it trips the fuse"),
    ("a bag of dog food", "it was open on arrival"),
    ("a wall clock", "it loses ten minutes a day"),
    ("a wool blanket", "it smells of smoke"),
    ("a keyboard", "the space bar sticks"),
    ("a tent", "there is no manual in the box"),
    ("a train pass", "my name is spelled wrong"),
    ("a rice cooker", "it has the wrong plug"),
    ("a picture frame", "the glass is scratched"),
)
_POLITE = (
    "Thank you for telling us, and I am sorry about {item}. We will send a replacement today, at "
    "no cost to you.",
    "I apologise for the trouble with {item}. Please keep it; a new one is on its way to you.",
)
_RUDE = (
    "So what? Nobody else complains about {item}. Read the terms before you waste my time again.",
    "That is your own fault. Stop whining about {item} and leave us alone, you are annoying.",
)

_LISTS = (
    ("the days of the week", "Monday Tuesday Wednesday Thursday Friday Saturday Sunday"),
    ("the four seasons", "spring summer autumn winter"),
    ("the planets of the solar system", "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune"),
    ("the colours of the rainbow", "red orange yellow green blue indigo violet"),
    ("the numbers from one to ten", "one two three four five six seven eight nine ten"),
    ("the vowels of the English alphabet", "A E I O U"),
    ("the first six months of the year", "January February March April May June"),
    ("the five senses", "sight hearing smell taste touch"),
    ("the oceans of the world", "Pacific Atlantic Indian Southern Arctic"),
    ("the first eight letters of the Greek alphabet",
     "alpha beta gamma delta epsilon zeta eta theta"),
)  # fmt: skip
_STEPS = (
    ("boil an egg", "Bring water to a boil.", "Put the egg in for eight minutes.",
     "Cool it in cold water and peel it."),
    ("brush your teeth", "Wet the brush and put toothpaste on it.",
     "Brush all sides of the teeth for two minutes.", "Spit, and rinse the brush."),
    ("change a light bulb", "Switch the light off and let the bulb cool.",
     "Turn the old bulb out.", "Turn the new bulb in and switch the light on."),
    ("make tea", "Boil water.", "Pour it over a tea bag in a cup.",
     "Wait four minutes and take the bag out."),
    ("plant a seed", "Fill a pot with soil.", "Put the seed one centimetre deep into it.",
     "Water it and set it in the light."),
    ("send a letter", "Write the letter and put it into an envelope.",
     "Write the address on it and add a stamp.", "Drop it into a letter box."),
    ("wash a car", "Rinse the dirt off with water.", "Wash it from the top down with soap.",
     "Rinse it again and dry it with a cloth."),
    ("draw a square", "Draw a straight line.",
     "Draw two lines of the same length at right angles from its ends.",
     "Join their ends by a fourth line."),
    ("fry a pancake", "Mix flour, eggs and milk.", "Pour a ladle of it into a hot pan.",
     "Turn it once and take it out when both sides are brown."),
    ("paint a wall", "Cover the floor and tape the edges.", "Paint the edges with a brush.",
     "Roll paint over the rest and let it dry."),
)  # fmt: skip

_PEOPLE = ("Ana Silva", "Ben Okafor", "Chen Wei", "Dora Klein", "Emil Novak")
_CITIES = ("Lisbon", "Lagos", "Chengdu", "Vienna", "Prague")

_FACTS = (
    ("What is the capital of France?", "Paris", "Lyon"),
    ("How many legs does a spider have?", "Eight", "Six"),
    ("Which planet is closest to the sun?", "Mercury", "Mars"),
    ("What gas do plants take in from the air?", "Carbon dioxide", "Helium"),
    ("At how many degrees Celsius does water boil at sea level?", "100", "70"),
    ("Who wrote Romeo and Juliet?", "William Shakespeare", "Charles Dickens"),
    ("How many days does a leap year have?", "366", "364"),
    ("What is the largest ocean?", "The Pacific Ocean", "The Arctic Ocean"),
    ("On which continent is Egypt?", "Africa", "Europe"),
    ("What is the chemical symbol of gold?", "Au", "Pb"),
    ("How many sides does a hexagon have?", "Six", "Nine"),
    ("What is the capital of Japan?", "Tokyo", "Seoul"),
    ("Which animal is the tallest?", "The giraffe", "The wolf"),
    ("How many minutes are in an hour?", "60", "100"),
    ("What do bees make?", "Honey", "Milk"),
    ("Which metal is liquid at room temperature?", "Mercury", "Iron"),
    ("In which direction does the sun rise?", "In the east", "In the west"),
    ("What is frozen water called?", "Ice", "Steam"),
    ("How many continents are there?", "Seven", "Three"),
    ("Which language is spoken in Brazil?", "Portuguese", "Swedish"),
)
_TOPICS = (
    ("How do I keep bread fresh?", "Keep it in a paper bag or a bread box, and freeze the rest."),
    ("Why is the sky blue?", "Air scatters blue light more than red light."),
    ("How can I sleep better?", "Go to bed at the same time each day and keep the room dark."),
    ("What does a librarian do?", "A librarian orders, lends and helps to find books."),
    ("How do I stop hiccups?", "Hold your breath for ten seconds, or drink a glass of water."),
    ("What is a solar panel?", "It turns the light of the sun into electric power."),
    ("How do I learn to swim?", "Start in shallow water with a teacher, and learn to float first."),
    ("Why do leaves turn yellow?", "Trees take the green out of them before winter."),
    ("How do I save money?", "Write down what you spend, and set some aside each month."),
    ("What is a map scale?", "It says how many metres one centimetre on the map stands for."),
    ("How do I remove a coffee stain?", "Rinse it with cold water, then dab soap on it."),
    ("What is yeast for?", "It makes dough rise."),
    ("How do I train a puppy?", "Reward it at once when it does what you asked for."),
    ("Why do we have leap years?", "A year is about a quarter of a day longer than 365 days."),
    ("How do I write a good e-mail?", "State what you want in the first line and keep it short."),
    ("What is a vaccine?", "It teaches the body to fight a disease before it meets it."),
    ("How do I care for a cactus?", "Give it much light and little water."),
    ("What does a compiler do?", "It translates source code into instructions for a machine."),
    ("How do I tune a guitar?", "Turn each peg until the string matches a tuner's note."),
    ("What causes tides?", "The gravity of the moon and the sun pulls on the sea."),
)


def easy_pairs(seed: int = 0) -> Iterator[Known]:
    """Make a hundred pairs, twenty of each kind in turn; good and bad stand first equally often."""
    rng = random.Random(seed)
    by_kind = {kind: list(islice(make(rng), 20)) for kind, make in KINDS.items()}
    for number in range(20):
        for kind, pairs in by_kind.items():
            task, good, bad = pairs[number]
            is_first = rng.random() < 0.5
            answers = [good, bad] if is_first else [bad, good]
            truth = [1.0, 0.0] if is_first else [0.0, 1.0]
            yield answers_to(f"easy/{kind}/{number}", task, answers), truth


def sums(seed: int = 0) -> Iterator[Known]:
    """Make groups of five answers to a sum, one of them right, without an end."""
    rng = random.Random(seed)
    seen: set[tuple[int, int]] = set()
    while True:
        a, b = rng.randint(*SUMMANDS), rng.randint(*SUMMANDS)
        if (a, b) in seen:
            continue
        seen.add((a, b))
        answers = [str(a + b), *map(str, _near_misses(a, b, rng))]
        rng.shuffle(answers)
        truth = [float(answer == str(a + b)) for answer in answers]
        yield answers_to(f"sum/{a}+{b}", f"What is {a} + {b}?", answers), truth


def _near_misses(a: int, b: int, rng: random.Random) -> list[int]:
    """Return wrong sums as a weak model writes them: a carry lost, one off, a summand."""
    wrong: set[int] = set()
    while len(wrong) < NUM_WRONG:
        near = a + b + rng.choice((-20, -10, -5, -2, -1, 1, 2, 5, 10, 20))
        wrong.add(rng.choice((near, near, near, a, abs(a - b))))
        wrong.discard(a + b)
    return sorted(wrong)


def answers_to(name: str, task: str, answers: list[str]) -> Group:
    """Return the wire form of some answers to one message."""
    asked = {"role": "user", "content": task}
    members = [
        {"id": f"answer-{n}", "messages": [asked, {"role": "assistant", "content": answer}]}
        for n, answer in enumerate(answers)
    ]
    return {"group_id": name, "task": None, "trajectories": members}


def _politeness(rng: random.Random) -> Iterator[Pair]:
    for thing, fault in _ORDERS:
        task = (
            f'A customer writes: "I bought {thing}, and {fault}." Write a polite answer in the '
            "name of the shop."
        )
        item = f"{thing.partition(' ')[2]}"
        good, bad = rng.choice(_POLITE), rng.choice(_RUDE)
        yield task, good.format(item=f"the {item}"), bad.format(item=f"the {item}")


def _completeness(rng: random.Random) -> Iterator[Pair]:
    for what, listed in _LISTS:
        items = listed.split()
        kept = rng.randint(1, len(items) - 2)
        cut = ", ".join(items[: kept + 1])
        yield f"Name {what}.", ", ".join(items) + ".", cut[: len(cut) - len(items[kept]) + 2]
    for what, *steps in _STEPS:
        numbered = "\n".join(f"{n}. {step}" for n, step in enumerate(steps, start=1))
        end = len(numbered) // 3 + rng.randint(0, len(numbered) // 4)
        yield f"Write three numbered steps to {what}.", numbered, numbered[:end].rstrip()


def _formats(rng: random.Random) -> Iterator[Pair]:
    for n in range(20):
        name, city, age = rng.choice(_PEOPLE), rng.choice(_CITIES), rng.randint(20, 70)
        prose = f"{name} is {age} years old and lives in {city}."
        wanted = (
            (f"Write as a JSON object with the keys name, age and city: {prose}",
             f'{{"name": "{name}", "age": {age}, "city": "{city}"}}'),
            (f"Reply in capital letters only: where does {name} live? {prose}", city.upper()),
            (f"Reply with one number and nothing else: how old is {name}? {prose}", f"{age}"),
            (f"Write name, age and city on three lines, one a line: {prose}",
             f"{name}\n{age}\n{city}"),
        )[n % 4]  # fmt: skip
        yield *wanted, f"Sure! As you can see, {name}, aged {age}, has a home in {city}."


def _facts(rng: random.Random) -> Iterator[Pair]:
    yield from _FACTS


def _topics(rng: random.Random) -> Iterator[Pair]:
    for n, (question, answer) in enumerate(_TOPICS):
        yield question, answer, _TOPICS[(n + rng.randint(1, 19)) % 20][1]


KINDS: dict[str, Callable[[random.Random], Iterator[Pair]]] = {
    "polite": _politeness,
    "complete": _completeness,
    "format": _formats,
    "fact": _facts,
    "topic": _topics,
}
