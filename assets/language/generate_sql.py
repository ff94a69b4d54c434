"""Generated questions over small schemas with the SQL that answers them, in the manner of Spider.

A text is: the tables as CREATE TABLE statements, the question as a comment, the query.
"""

NAMES = ("Ada Brook Cleo Dario Elena Farid Greta Hugo Iris Jonas Kira Leo Mina Nadia Oscar Petra Quinn Rosa Sami Tara "
         "Umar Vera Wade Xenia Yusuf Zoe").split()
SURNAMES = ("Abbott Barker Castillo Duarte Eriksen Fischer Garcia Hansen Ito Jansen Kowalski Lopez Moreau Nguyen Okafor "
            "Patel Quist Rossi Schmidt Tanaka Usman Varga Weber Young Zhang").split()
CITIES = ("Lisbon Oslo Nairobi Lima Kyoto Austin Dublin Tallinn Hanoi Accra Quito Prague Perth Turin Leeds Boston Denver "
          "Geneva Bergen Cairo").split()
COUNTRIES = "France Japan Brazil Kenya Canada Norway Italy Chile India Egypt Ghana Spain Peru Vietnam Poland".split()
COLORS = "red blue green black white silver yellow brown".split()

# A column: (name, SQL type, words, values). Values: a list of texts, or (low, high) of integers.
CITY, COUNTRY = ("city", "TEXT", "city", CITIES), ("country", "TEXT", "country", COUNTRIES)
AGE = ("age", "INTEGER", "age", (18, 75))
YEAR = ("year", "INTEGER", "year", (1960, 2024))
PRICE = ("price", "REAL", "price", (5, 900))
RATING = ("rating", "REAL", "rating", (1, 10))
PERSON, TITLE, PLACE = "person", "title", "place"
# An entity: table, singular, plural, how it is named, its columns.
ENTITIES = [
    ("singer", "singer", "singers", PERSON, [AGE, COUNTRY, ("net_worth", "REAL", "net worth", (1, 400)),
        ("genre", "TEXT", "genre", ["jazz", "pop", "folk", "rock", "soul"])]),
    ("concert", "concert", "concerts", TITLE, [YEAR, CITY, ("attendance", "INTEGER", "attendance", (200, 60000)),
        ("ticket_price", "REAL", "ticket price", (10, 250))]),
    ("student", "student", "students", PERSON, [AGE, CITY, ("major", "TEXT", "major",
        ["Biology", "History", "Physics", "Law", "Music", "Chemistry"]), ("gpa", "REAL", "grade point average", (1, 4))]),
    ("course", "course", "courses", TITLE, [("credits", "INTEGER", "number of credits", (1, 12)),
        ("department", "TEXT", "department", ["Math", "Physics", "Art", "Law", "Biology"]),
        ("semester", "TEXT", "semester", ["Spring", "Summer", "Fall", "Winter"])]),
    ("employee", "employee", "employees", PERSON, [AGE, CITY, ("salary", "INTEGER", "salary", (20000, 180000)),
        ("job_title", "TEXT", "job title", ["engineer", "manager", "analyst", "clerk", "designer"])]),
    ("department", "department", "departments", PLACE, [("budget", "INTEGER", "budget", (10000, 900000)),
        ("floor", "INTEGER", "floor", (1, 30)), CITY, ("num_employees", "INTEGER", "number of employees", (2, 400))]),
    ("flight", "flight", "flights", TITLE, [("origin", "TEXT", "origin", CITIES), ("destination", "TEXT", "destination",
        CITIES), ("distance", "INTEGER", "distance", (100, 9000)), PRICE]),
    ("airline", "airline", "airlines", PLACE, [COUNTRY, ("fleet_size", "INTEGER", "fleet size", (4, 600)), RATING]),
    ("book", "book", "books", TITLE, [YEAR, PRICE, ("pages", "INTEGER", "number of pages", (60, 1200)),
        ("language", "TEXT", "language", ["English", "French", "Spanish", "Arabic", "Hindi"])]),
    ("author", "author", "authors", PERSON, [COUNTRY, ("birth_year", "INTEGER", "birth year", (1850, 2000)),
        ("awards", "INTEGER", "number of awards", (0, 20))]),
    ("movie", "movie", "movies", TITLE, [YEAR, RATING, ("genre", "TEXT", "genre",
        ["drama", "comedy", "action", "horror", "documentary"]), ("duration", "INTEGER", "duration", (70, 220))]),
    ("director", "director", "directors", PERSON, [AGE, COUNTRY, ("films_made", "INTEGER", "number of films", (1, 60))]),
    ("product", "product", "products", TITLE, [PRICE, ("category", "TEXT", "category",
        ["toys", "books", "garden", "kitchen", "sports"]), ("stock", "INTEGER", "stock", (0, 500)),
        ("weight", "REAL", "weight", (1, 80))]),
    ("customer", "customer", "customers", PERSON, [AGE, CITY, COUNTRY, ("credit_limit", "INTEGER", "credit limit",
        (500, 20000))]),
    ("orders", "order", "orders", TITLE, [("quantity", "INTEGER", "quantity", (1, 90)), ("total", "REAL", "total",
        (5, 4000)), ("status", "TEXT", "status", ["open", "shipped", "paid", "cancelled"]), YEAR]),
    ("store", "store", "stores", PLACE, [CITY, ("opened", "INTEGER", "opening year", (1950, 2024)),
        ("area", "INTEGER", "area", (80, 9000)), ("revenue", "REAL", "revenue", (10000, 900000))]),
    ("team", "team", "teams", PLACE, [CITY, ("founded", "INTEGER", "founding year", (1880, 2020)),
        ("wins", "INTEGER", "number of wins", (0, 80)), ("losses", "INTEGER", "number of losses", (0, 80))]),
    ("player", "player", "players", PERSON, [AGE, COUNTRY, ("height", "INTEGER", "height", (150, 220)),
        ("position", "TEXT", "position", ["goalkeeper", "defender", "midfielder", "forward"]),
        ("goals", "INTEGER", "number of goals", (0, 60))]),
    ("car", "car", "cars", TITLE, [("color", "TEXT", "color", COLORS), ("horsepower", "INTEGER", "horsepower", (50, 500)),
        YEAR, ("mileage", "INTEGER", "mileage", (0, 250000))]),
    ("museum", "museum", "museums", PLACE, [CITY, ("opening_year", "INTEGER", "opening year", (1750, 2020)),
        ("num_of_staff", "INTEGER", "number of staff", (3, 300))]),
    ("painting", "painting", "paintings", TITLE, [YEAR, ("medium", "TEXT", "medium", ["oil", "acrylic", "watercolor"]),
        ("height_mm", "INTEGER", "height", (100, 4000)), ("value", "INTEGER", "value", (100, 900000))]),
    ("hospital", "hospital", "hospitals", PLACE, [CITY, ("beds", "INTEGER", "number of beds", (20, 1500)), RATING]),
    ("patient", "patient", "patients", PERSON, [AGE, CITY, ("blood_type", "TEXT", "blood type", ["A", "B", "AB", "O"]),
        ("weight", "REAL", "weight", (40, 140))]),
    ("river", "river", "rivers", PLACE, [COUNTRY, ("length", "INTEGER", "length", (30, 6000)),
        ("depth", "INTEGER", "depth", (1, 90))]),
    ("pet", "pet", "pets", PLACE, [AGE[:3] + ((1, 20),), ("species", "TEXT", "species", ["cat", "dog", "rabbit",
        "parrot"]), ("weight", "REAL", "weight", (1, 60))]),
    ("device", "device", "devices", TITLE, [("carrier", "TEXT", "carrier", ["Alpha", "Nova", "Orbit", "Zenit"]), PRICE,
        ("memory_in_g", "INTEGER", "memory", (1, 128))]),
]
OVER = [("greater than", ">"), ("more than", ">"), ("above", ">"), ("less than", "<"), ("below", "<"), ("at least", ">="),
        ("at most", "<=")]


def plural(words):
    """The plural of a column's words."""
    return words[:-1] + "ies" if words.endswith("y") else words + "s"


class Table:
    """One table of a schema: a subset of its entity's columns, the name column and perhaps a parent."""

    def __init__(self, d, entity, parent=None):
        self.table, self.one, self.many, self.kind, columns = entity
        self.columns = d.some(columns, d.between(2, len(columns)))
        self.parent = parent
        self.name = {"person": "name", "title": "title", "place": "name"}[self.kind]

    def create(self):
        lines = [f"{self.table}_id INTEGER PRIMARY KEY", f"{self.name} TEXT"]
        lines += [f"{c[0]} {c[1]}" for c in self.columns]
        if self.parent:
            lines.append(f"{self.parent.table}_id INTEGER REFERENCES {self.parent.table}({self.parent.table}_id)")
        return f"CREATE TABLE {self.table} (" + ", ".join(lines) + ");"

    def numbers(self):
        return [c for c in self.columns if c[1] != "TEXT"]

    def texts(self):
        return [c for c in self.columns if c[1] == "TEXT"]


def number(d, column):
    low, high = column[3]
    value = d.between(low, high)
    if high > 3000 and column[1] == "INTEGER" and high - low > 500:
        value = value // 100 * 100 or 100
    return str(value)


def condition(d, t, prefix=""):
    """Words and SQL of one condition on a column of `t`."""
    if t.texts() and (not t.numbers() or d.chance(0.5)):
        c = d.pick(t.texts())
        v = d.pick(c[3])
        if d.chance(0.15):
            return f"whose {c[2]} is not {v}", f"{prefix}{c[0]} != '{v}'"
        return d.pick([f"whose {c[2]} is {v}", f"with {c[2]} {v}", f"that have {v} as {c[2]}"]), f"{prefix}{c[0]} = '{v}'"
    c = d.pick(t.numbers())
    if d.chance(0.15):
        a, b = sorted((int(number(d, c)), int(number(d, c))))
        return f"with {c[2]} between {a} and {b}", f"{prefix}{c[0]} BETWEEN {a} AND {b}"
    words, op = d.pick(OVER)
    v = number(d, c)
    return d.pick([f"with {c[2]} {words} {v}", f"whose {c[2]} is {words} {v}"]), f"{prefix}{c[0]} {op} {v}"


def single(d, t):
    """A question about one table."""
    many, table, name = t.many, t.table, t.name
    shown = d.pick([c for c in t.columns] + [(name, "TEXT", name, None)] * 2)
    words, where = condition(d, t)
    kind = d.below(13)
    num = d.pick(t.numbers()) if t.numbers() else None
    text = d.pick(t.texts()) if t.texts() else None
    if num is None and kind in (4, 5, 6, 9, 10) or text is None and kind in (7, 8, 9, 11):
        kind = d.below(4)
    if kind == 0:
        return d.pick([f"How many {many} are there?", f"Count the number of {many}.", f"What is the total number of {many}?"]), \
            f"SELECT COUNT(*) FROM {table}"
    if kind == 1:
        return d.pick([f"How many {many} are there {words}?", f"Count the {many} {words}.", f"Find the number of {many} {words}."]), \
            f"SELECT COUNT(*) FROM {table} WHERE {where}"
    if kind == 2:
        return d.pick([f"What are the {plural(shown[2])} of the {many} {words}?", f"List the {shown[2]} of {many} {words}.",
                       f"Show the {shown[2]} of every {t.one} {words}."]), f"SELECT {shown[0]} FROM {table} WHERE {where}"
    if kind == 3:
        words2, where2 = condition(d, t)
        both = d.chance(0.6)
        return d.pick(["Find", "Show", "List"]) + f" the {shown[2]} of {many} {words} {'and' if both else 'or'} {words2}.", \
            f"SELECT {shown[0]} FROM {table} WHERE {where} {'AND' if both else 'OR'} {where2}"
    if kind == 4:
        way, sql = d.pick([("maximum", "MAX"), ("minimum", "MIN"), ("average", "AVG"), ("total", "SUM")])
        if d.chance(0.5):
            return f"What is the {way} {num[2]} of the {many} {words}?", f"SELECT {sql}({num[0]}) FROM {table} WHERE {where}"
        return d.pick([f"What is the {way} {num[2]} of all {many}?", f"Give the {way} {num[2]} over the {many}."]), \
            f"SELECT {sql}({num[0]}) FROM {table}"
    if kind == 5:
        down = d.chance(0.6)
        order = d.pick(["descending", "decreasing"]) if down else d.pick(["ascending", "increasing"])
        return d.pick([f"List the {name} of all {many} in {order} order of {num[2]}.",
                       f"What are the {plural(name)} of the {many}, sorted by {num[2]} in {order} order?"]), \
            f"SELECT {name} FROM {table} ORDER BY {num[0]} {'DESC' if down else 'ASC'}"
    if kind == 6:
        k, down = d.between(1, 5), d.chance(0.6)
        way = d.pick(["highest", "largest"]) if down else d.pick(["lowest", "smallest"])
        who = f"the {t.one}" if k == 1 else f"the {k} {many}"
        return d.pick([f"What is the {shown[2]} of {who} with the {way} {num[2]}?", f"Show the {shown[2]} of {who} with the {way} {num[2]}."]), \
            f"SELECT {shown[0]} FROM {table} ORDER BY {num[0]} {'DESC' if down else 'ASC'} LIMIT {k}"
    if kind == 7:
        return d.pick([f"How many {many} are there for each {text[2]}?", f"Show each {text[2]} and the number of {many} with it.",
                       f"For every {text[2]}, count the {many}."]), f"SELECT {text[0]}, COUNT(*) FROM {table} GROUP BY {text[0]}"
    if kind == 8:
        k = d.between(2, 9)
        return d.pick([f"Which {text[2]} has at least {k} {many}?", f"Find each {text[2]} shared by at least {k} {many}."]), \
            f"SELECT {text[0]} FROM {table} GROUP BY {text[0]} HAVING COUNT(*) >= {k}"
    if kind == 9:
        way, sql = d.pick([("maximum", "MAX"), ("minimum", "MIN"), ("average", "AVG")])
        return d.pick([f"What is the {way} {num[2]} of {many} for each {text[2]}?", f"For each {text[2]}, show the {way} {num[2]} of its {many}."]), \
            f"SELECT {text[0]}, {sql}({num[0]}) FROM {table} GROUP BY {text[0]}"
    if kind == 10:
        above = d.chance(0.6)
        return f"List the {shown[2]} of {many} whose {num[2]} is {'above' if above else 'below'} the average.", \
            f"SELECT {shown[0]} FROM {table} WHERE {num[0]} {'>' if above else '<'} (SELECT AVG({num[0]}) FROM {table})"
    if kind == 11:
        if d.chance(0.5):
            return f"How many different {plural(text[2])} do the {many} have?", f"SELECT COUNT(DISTINCT {text[0]}) FROM {table}"
        return f"What are the different {plural(text[2])} of {many}?", f"SELECT DISTINCT {text[0]} FROM {table}"
    part = d.pick(NAMES if t.kind == PERSON else CITIES)
    return d.pick([f"Find the {shown[2]} of {many} whose {name} contains '{part}'.", f"Which {many} have '{part}' in their {name}? Show the {shown[2]}."]), \
        f"SELECT {shown[0]} FROM {table} WHERE {name} LIKE '%{part}%'"


def joined(d, child):
    """A question about a table and its parent."""
    p = child.parent
    key = f"{p.table}_id"
    join = f"FROM {child.table} AS T1 JOIN {p.table} AS T2 ON T1.{key} = T2.{key}"
    kind = d.below(7)
    if kind == 0:
        words, where = condition(d, p, "T2.")
        return d.pick([f"Show the {child.name} of the {child.many} of {p.many} {words}.",
                       f"What are the {plural(child.name)} of {child.many} that belong to {p.many} {words}?"]), \
            f"SELECT T1.{child.name} {join} WHERE {where}"
    if kind == 1:
        return d.pick([f"How many {child.many} does each {p.one} have? Show the {p.one}'s {p.name} and the count.",
                       f"For each {p.one}, show its {p.name} and the number of its {child.many}."]), \
            f"SELECT T2.{p.name}, COUNT(*) {join} GROUP BY T1.{key}"
    if kind == 2:
        most = d.chance(0.7)
        return d.pick([f"Which {p.one} has the {'most' if most else 'fewest'} {child.many}? Give the {p.name}.",
                       f"What is the {p.name} of the {p.one} with the {'most' if most else 'fewest'} {child.many}?"]), \
            f"SELECT T2.{p.name} {join} GROUP BY T1.{key} ORDER BY COUNT(*) {'DESC' if most else 'ASC'} LIMIT 1"
    if kind == 3:
        return d.pick([f"Find the {p.name} of {p.many} that have no {child.one}.", f"Which {p.many} do not have any {child.many}? List the {p.name}."]), \
            f"SELECT {p.name} FROM {p.table} WHERE {key} NOT IN (SELECT {key} FROM {child.table})"
    if kind == 4:
        k = d.between(2, 8)
        return f"What are the {plural(p.name)} of the {p.many} with at least {k} {child.many}?", \
            f"SELECT T2.{p.name} {join} GROUP BY T1.{key} HAVING COUNT(*) >= {k}"
    if kind == 5:
        words, where = condition(d, child, "T1.")
        c = d.pick(p.columns)
        return d.pick([f"What is the {c[2]} of {p.many} that have a {child.one} {words}?", f"List the {c[2]} of each {p.one} that has {child.many} {words}."]), \
            f"SELECT DISTINCT T2.{c[0]} {join} WHERE {where}"
    words, where = condition(d, child, "T1.")
    words2, where2 = condition(d, p, "T2.")
    return f"How many {child.many} {words} are there for {p.many} {words2}?", f"SELECT COUNT(*) {join} WHERE {where} AND {where2}"


def text(d):
    """One text: tables, question, query."""
    parent, child = (lambda pair: (Table(d, pair[0]), pair[1]))(d.some(ENTITIES, 2))
    tables = [parent]
    if d.chance(0.75):
        tables.append(Table(d, child, parent))
    if len(tables) == 2 and d.chance(0.6):
        question, query = joined(d, tables[1])
    else:
        question, query = single(d, d.pick(tables))
    return "\n".join(t.create() for t in tables) + f"\n-- {question}\n{query};\n"
