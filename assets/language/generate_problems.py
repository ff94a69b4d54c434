"""Generated arithmetic word problems with worked answers, in the notation of GSM8K.

A text is "Question: ...", "Answer: ..." with every calculation marked as <<3*4=12>>, and a last line "#### 12". Every
number of an answer is computed here, so the arithmetic is right.
"""
import operator
from fractions import Fraction

OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
PEOPLE = [(n, "he", "his") for n in "Adam Ben Carlos Dev Ethan Felix George Hassan Ivan James Kofi Liam Marco Noah Omar Paul Ravi Sam Tom Will".split()] + \
         [(n, "she", "her") for n in "Alice Bella Chloe Dana Emma Fatima Grace Hannah Ines Julia Keiko Lena Maria Nina Olga Priya Rosa Sara Tina Wendy".split()]
THINGS = ("apples pencils marbles stickers cookies books stamps shells candles muffins oranges cards balloons buttons "
          "flowers bottles eggs cupcakes notebooks coins").split()
BOXES = "boxes bags baskets crates jars packs trays shelves drawers rows".split()
FOOD = ["sandwich", "pizza", "salad", "coffee", "burger", "smoothie", "bagel", "soup", "taco", "juice"]
GOODS = ["shirt", "hat", "lamp", "chair", "jacket", "watch", "bike", "phone case", "backpack", "table"]
JOBS = ["mowing lawns", "walking dogs", "washing cars", "teaching piano", "babysitting", "painting fences", "delivering papers"]
PLACES = ["the market", "the library", "school", "the park", "the station", "the beach", "a farm", "the museum"]
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


def shown(value):
    """A number as GSM8K writes it."""
    value = Fraction(value)
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.2f}".rstrip("0")


def calc(left, op, right):
    """The value of `left op right` and its marked text: 3*4=<<3*4=12>>12."""
    a, b = Fraction(left), Fraction(right)
    value = OPERATIONS[op](a, b)
    text = f"{shown(a)}{op}{shown(b)}"
    return value, f"{text}=<<{text}={shown(value)}>>{shown(value)}"


def boxes(d):
    (n, he, _), things, box = d.pick(PEOPLE), d.pick(THINGS), d.pick(BOXES)
    a, b, c = d.between(2, 12), d.between(3, 24), d.between(2, 20)
    c = min(c, a * b - 1)
    total, s1 = calc(a, "*", b)
    left, s2 = calc(total, "-", c)
    verb = d.pick(["gives away", "loses", "sells", "throws out"])
    q = d.pick([f"{n} has {a} {box} of {things}. There are {b} {things} in each of the {box}. If {n} {verb} {c} {things}, how many {things} does {he} have left?",
                f"{n} fills {a} {box} with {b} {things} each and then {verb} {c} of them. How many {things} are left?"])
    return q, [f"{d.pick(['At first', 'In total', 'To begin with'])} {n} has {s1} {things}.", f"After that {he} has {s2} {things} left."], left


def shopping(d):
    (n, he, _), f1, f2 = d.pick(PEOPLE), *d.some(FOOD, 2)
    a, p, b, r = d.between(2, 9), d.between(2, 15), d.between(2, 9), d.between(1, 12)
    x, s1 = calc(a, "*", p)
    y, s2 = calc(b, "*", r)
    t, s3 = calc(x, "+", y)
    lines = [f"The {f1} orders cost ${s1}.", f"The {f2} orders cost ${s2}.", f"Together they cost ${s3}."]
    q = f"{n} orders {a} of the {f1} at ${p} each and {b} of the {f2} at ${r} each."
    if d.chance(0.5):
        pay = (int(t) // 20 + d.between(1, 3)) * 20
        c, s4 = calc(pay, "-", t)
        return q + f" {d.pick([f'How much change does {he} get from ${pay}?', f'If {he} pays with ${pay}, how much change does {he} receive?'])}", lines + [f"The change is ${s4}."], c
    return q + d.pick([" How much does the order cost?", f" How much does {he} pay in total?", " What is the total cost?"]), lines, t


def wages(d):
    (n, he, his), job = d.pick(PEOPLE), d.pick(JOBS)
    rate, hours, days, weeks = d.between(6, 30), d.between(2, 9), d.between(2, 6), d.between(2, 8)
    a, s1 = calc(rate, "*", hours)
    b, s2 = calc(a, "*", days)
    lines = [f"{n} earns ${s1} a day.", f"In a week {he} earns ${s2}."]
    q = f"{n} earns ${rate} an hour {job}. {he.capitalize()} works {hours} hours a day, {days} days a week."
    if d.chance(0.4):
        return q + d.pick([f" How much does {he} earn in a week?", f" What are {his} weekly earnings?"]), lines, b
    c, s3 = calc(b, "*", weeks)
    return q + f" How much does {he} earn in {weeks} weeks?", lines + [f"In {weeks} weeks {he} earns ${s3}."], c


def ages(d):
    (n, he, _), (m, _, _) = d.some(PEOPLE, 2)
    m_age, k, years = d.between(3, 16), d.between(2, 4), d.between(2, 15)
    a, s1 = calc(k, "*", m_age)
    times = {2: "twice", 3: "three times", 4: "four times"}[k]
    kind = d.below(3)
    if kind == 0:
        t, s2 = calc(a, "+", years)
        return f"{n} is {times} as old as {m}. {m} is {m_age} years old. How old will {n} be in {years} years?", \
            [f"{n} is {s1} years old.", f"In {years} years {n} will be {s2} years old."], t
    if kind == 1:
        t, s2 = calc(a, "+", m_age)
        return f"{m} is {m_age} years old and {n} is {times} as old. What is the sum of their ages?", [f"{n} is {s1} years old.", f"The sum of their ages is {s2}."], t
    t, s2 = calc(a, "-", m_age)
    return f"{m} is {m_age}. {n} is {times} as old as {m}. How many years older is {n} than {m}?", [f"{n} is {s1} years old.", f"The difference is {s2} years."], t


def discount(d):
    (n, _, _), good = d.pick(PEOPLE), d.pick(GOODS)
    percent, price = d.pick([10, 20, 25, 30, 40, 50]), d.between(2, 30) * 20
    off = Fraction(price * percent, 100)
    s1 = f"{price}*{percent}/100=<<{price}*{percent}/100={shown(off)}>>{shown(off)}"
    new, s2 = calc(price, "-", off)
    lines = [f"The discount is ${s1}.", f"So the price is ${s2}."]
    q = d.pick([f"A {good} costs ${price}, but it is on sale at {percent}% off.", f"{n} wants a {good} that costs ${price}. The shop takes {percent}% off the price."])
    if d.chance(0.5):
        return q + d.pick([f" What is the sale price of the {good}?", f" How much does the {good} cost now?"]), lines, new
    k = d.between(2, 6)
    t, s3 = calc(k, "*", new)
    return q + f" How much does {n} pay for {k} of them?", lines + [f"{k} of them cost ${s3}."], t


def travel(d):
    (n, he, _), place = d.pick(PEOPLE), d.pick(PLACES)
    v, h, w, g = d.between(3, 70), d.between(2, 8), d.between(3, 70), d.between(2, 8)
    a, s1 = calc(v, "*", h)
    b, s2 = calc(w, "*", g)
    t, s3 = calc(a, "+", b)
    way = d.pick(["drives", "cycles", "travels"])
    return f"On the way to {place}, {n} {way} at {v} miles per hour for {h} hours and then at {w} miles per hour for {g} hours. How many miles does {he} cover in total?", \
        [f"In the first part {n} covers {s1} miles.", f"In the second part {he} covers {s2} miles.", f"In total that is {s3} miles."], t


def sharing(d):
    (n, _, _), things = d.pick(PEOPLE), d.pick(THINGS)
    each, friends, extra = d.between(2, 15), d.between(2, 9), d.between(1, 30)
    have = each * friends - extra if each * friends > extra else each * friends + extra
    t0 = Fraction(each * friends)
    if have < t0:
        total, s1 = calc(have, "+", extra)
        how = d.pick([f"buys {extra} more", f"finds {extra} more", f"is given another {extra}"])
    else:
        total, s1 = calc(have, "-", extra)
        how = d.pick([f"loses {extra}", f"keeps {extra} apart"])
    t, s2 = calc(total, "/", friends)
    return f"{n} has {have} {things} and {how}. The {things} are then shared equally among {friends} friends. How many {things} does each friend get?", \
        [f"{n} has {s1} {things} to share.", f"Each friend gets {s2} {things}."], t


def saving(d):
    (n, he, _), good = d.pick(PEOPLE), d.pick(GOODS)
    per, weeks, have = d.between(3, 40), d.between(3, 20), d.between(1, 60)
    cost = per * weeks + have
    a, s1 = calc(cost, "-", have)
    t, s2 = calc(a, "/", per)
    return d.pick([f"{n} wants to buy a {good} that costs ${cost}. {he.capitalize()} already has ${have} and saves ${per} each week. How many weeks does {he} need?",
                   f"A {good} costs ${cost}. {n} has saved ${have} so far and puts aside ${per} every week. In how many weeks can {he} buy it?"]), \
        [f"{n} still needs ${s1}.", f"That takes {s2} weeks."], t


def week(d):
    (n, he, _), things = d.pick(PEOPLE), d.pick(THINGS)
    day1, day2, day3 = (lambda i: DAYS[i:i + 3])(d.below(5))
    a, k, m = d.between(4, 40), d.between(2, 5), d.between(2, 20)
    b, s1 = calc(a, "*", k)
    c, s2 = calc(b, "+" if d.chance(0.5) or b <= m else "-", m)
    more = "more" if c > b else "fewer"
    x, s3 = calc(a, "+", b)
    t, s4 = calc(x, "+", c)
    times = {2: "twice", 3: "three times", 4: "four times", 5: "five times"}[k]
    verb, past = d.pick([("sell", "sold"), ("make", "made"), ("collect", "collected"), ("count", "counted")])
    return f"{n} {past} {a} {things} on {day1}, {times} as many on {day2}, and {m} {more} on {day3} than on {day2}. How many {things} did {he} {verb} over the three days?", \
        [f"On {day2} {n} {past} {s1} {things}.", f"On {day3} {he} {past} {s2} {things}.", f"On the first two days {he} {past} {s3} {things}.", f"Over the three days {he} {past} {s4} {things}."], t


def area(d):
    (n, _, _) = d.pick(PEOPLE)
    w, h, cost = d.between(3, 40), d.between(3, 40), d.between(2, 15)
    what = d.pick(["garden", "room", "field", "yard", "patio"])
    if d.chance(0.5):
        a, s1 = calc(w, "*", h)
        t, s2 = calc(a, "*", cost)
        return f"{n}'s {what} is {w} feet long and {h} feet wide. Covering it costs ${cost} per square foot. How much does it cost to cover the whole {what}?", \
            [f"The area is {s1} square feet.", f"The cost is ${s2}."], t
    a, s1 = calc(w, "+", h)
    b, s2 = calc(2, "*", a)
    t, s3 = calc(b, "*", cost)
    return f"{n} builds a fence around a {what} that is {w} feet long and {h} feet wide. A foot of fence costs ${cost}. How much does the fence cost?", \
        [f"Half of the perimeter is {s1} feet.", f"The perimeter is {s2} feet.", f"The fence costs ${s3}."], t


def fractions(d):
    (n, he, _), things = d.pick(PEOPLE), d.pick(THINGS)
    k, part, extra = d.pick([(2, "half"), (3, "a third"), (4, "a quarter"), (5, "a fifth")]), d.between(2, 30), d.between(1, 20)
    total = k[0] * part
    extra = min(extra, total - part - 1) or 1
    a, s1 = calc(total, "/", k[0])
    b, s2 = calc(total, "-", a)
    t, s3 = calc(b, "-", extra)
    (m, _, _) = d.pick([p for p in PEOPLE if p[0] != n])
    return f"{n} has {total} {things}. {he.capitalize()} gives {k[1]} of them to {m} and then {d.pick(['loses', 'breaks', 'uses'])} {extra}. How many {things} does {n} have now?", \
        [f"{n} gives {m} {s1} {things}.", f"That leaves {s2} {things}.", f"In the end {n} has {s3} {things}."], t


def people(d):
    place, _ = d.pick(PLACES), d.pick(PEOPLE)     # the draw of a person is part of the stream
    buses, seats, cars, per = d.between(2, 12), d.between(10, 50), d.between(2, 30), d.between(2, 5)
    a, s1 = calc(buses, "*", seats)
    b, s2 = calc(cars, "*", per)
    t, s3 = calc(a, "+", b)
    return f"A group goes to {place} in {buses} buses with {seats} people in each, and in {cars} cars with {per} people in each. How many people go to {place}?", \
        [f"There are {s1} people in the buses.", f"There are {s2} people in the cars.", f"Altogether {s3} people go."], t


def recipe(d):
    (n, he, _) = d.pick(PEOPLE)
    what, thing = d.pick(["flour", "sugar", "milk", "rice", "butter"]), d.pick(["cakes", "loaves", "pies", "batches of cookies"])
    cups, k, price = d.between(2, 6), d.between(2, 14), d.between(1, 4)
    a, s1 = calc(cups, "*", k)
    if d.chance(0.5):
        t, s2 = calc(a, "*", price)
        return f"A recipe needs {cups} cups of {what}. {n} makes {k} {thing} with it, using the recipe once for each. If a cup of {what} costs ${price}, how much does the {what} cost?", \
            [f"{n} needs {s1} cups of {what}.", f"It costs ${s2}."], t
    have = d.between(1, int(a) - 1)
    t, s2 = calc(a, "-", have)
    return f"{n} wants to make {k} {thing}. Each needs {cups} cups of {what}, and {he} has {have} cups. How many more cups of {what} does {he} need?", \
        [f"{n} needs {s1} cups of {what}.", f"So {he} needs {s2} more cups."], t


def reading(d):
    (n, he, his) = d.pick(PEOPLE)
    p, days, rest = d.between(5, 40), d.between(2, 9), d.between(1, 9)
    q = d.between(5, 40)
    total = p * days + q * rest
    a, s1 = calc(p, "*", days)
    b, s2 = calc(total, "-", a)
    t, s3 = calc(b, "/", q)
    return f"{n} is reading a book of {total} pages. {he.capitalize()} reads {p} pages a day for {days} days, and then {q} pages a day. How many more days does {he} need to finish the book?", \
        [f"In the first {days} days {n} reads {s1} pages.", f"There are {s2} pages left.", f"{he.capitalize()} needs {s3} more days."], t


KINDS = [boxes, shopping, wages, ages, discount, travel, sharing, saving, week, area, fractions, people, recipe, reading]


def text(d):
    """One text: question, worked answer, result."""
    question, lines, result = d.pick(KINDS)(d)
    return f"Question: {question}\nAnswer: " + "\n".join(lines) + f"\n#### {shown(result)}\n"
