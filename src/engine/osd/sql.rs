//! Prompts of the sql domain: tables of a small schema and a question on them, in the form that the built-in models
//! were trained on (`assets/language/generate_sql.py`).

use super::draws::Draws;
use std::sync::LazyLock;

const NAMES: &str = "Ada Brook Cleo Dario Elena Farid Greta Hugo Iris Jonas Kira Leo Mina Nadia Oscar Petra Quinn Rosa Sami \
                     Tara Umar Vera Wade Xenia Yusuf Zoe";
const CITIES: &str = "Lisbon,Oslo,Nairobi,Lima,Kyoto,Austin,Dublin,Tallinn,Hanoi,Accra,Quito,Prague,Perth,Turin,Leeds,Boston,\
                      Denver,Geneva,Bergen,Cairo";
const COUNTRIES: &str = "France,Japan,Brazil,Kenya,Canada,Norway,Italy,Chile,India,Egypt,Ghana,Spain,Peru,Vietnam,Poland";
const COLORS: &str = "red,blue,green,black,white,silver,yellow,brown";

/// What a column holds.
enum Values {
    Words(Vec<&'static str>),
    Range(i64, i64),
}

struct Column {
    name: &'static str,
    kind: &'static str,
    words: &'static str,
    values: Values,
}

struct Entity {
    table: &'static str,
    one: &'static str,
    many: &'static str,
    person: bool,
    /// Of the column of names.
    name: &'static str,
    columns: Vec<Column>,
}

/// Lines of `table/singular/plural/kind/columns`, of which each is `name:type:words:values`, values being a range or a
/// list or the name of a list.
static ENTITIES: LazyLock<Vec<Entity>> = LazyLock::new(|| {
    include_str!("entities.txt")
        .lines()
        .filter_map(entity)
        .collect()
});

fn entity(line: &'static str) -> Option<Entity> {
    let mut parts = line.splitn(5, '/');
    let [table, one, many, kind, columns] = std::array::from_fn(|_| parts.next());
    Some(Entity {
        table: table?,
        one: one?,
        many: many?,
        person: kind? == "person",
        name: if kind? == "title" { "title" } else { "name" },
        columns: columns?.split(';').filter_map(column).collect(),
    })
}

fn column(text: &'static str) -> Option<Column> {
    let mut parts = text.splitn(4, ':');
    let [name, kind, words, values] = std::array::from_fn(|_| parts.next());
    let values = values?;
    let range = values.split_once('-');
    let range = range.and_then(|(a, b)| Some(Values::Range(a.parse().ok()?, b.parse().ok()?)));
    let list = match values {
        "@cities" => CITIES,
        "@countries" => COUNTRIES,
        "@colors" => COLORS,
        own => own,
    };
    Some(Column {
        name: name?,
        kind: kind?,
        words: words?,
        values: range.unwrap_or_else(|| Values::Words(list.split(',').collect())),
    })
}

/// A table of a schema: some of its entity's columns.
struct Table {
    of: &'static Entity,
    columns: Vec<&'static Column>,
}

impl Table {
    fn new(d: &mut Draws, of: &'static Entity) -> Self {
        let mut columns: Vec<&Column> = of.columns.iter().collect();
        d.shuffle(&mut columns);
        let count = d.between(2, columns.len() as i64) as usize;
        columns.truncate(count);
        Self { of, columns }
    }

    fn create(&self, parent: Option<&Table>) -> String {
        let Entity { table, name, .. } = self.of;
        let mut text = format!("CREATE TABLE {table} ({table}_id INTEGER PRIMARY KEY, {name} TEXT");
        for c in &self.columns {
            text += &format!(", {} {}", c.name, c.kind);
        }
        if let Some(p) = parent.map(|p| p.of.table) {
            text += &format!(", {p}_id INTEGER REFERENCES {p}({p}_id)");
        }
        text + ");\n"
    }

    /// One of its columns of texts, or of numbers.
    fn some(&self, d: &mut Draws, texts: bool) -> Option<&'static Column> {
        let is = |c: &&&Column| (c.kind == "TEXT") == texts;
        let all: Vec<&Column> = self.columns.iter().filter(is).copied().collect();
        (!all.is_empty()).then(|| *d.pick(&all))
    }

    /// The words of a column that a question asks for.
    fn shown(&self, d: &mut Draws) -> &'static str {
        match d.below(self.columns.len() + 2) {
            at if at < self.columns.len() => self.columns[at].words,
            _ => self.of.name,
        }
    }
}

fn plural(words: &str) -> String {
    match words.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{words}s"),
    }
}

fn number(d: &mut Draws, c: &Column) -> i64 {
    let Values::Range(low, high) = c.values else {
        return 1;
    };
    let value = d.between(low, high);
    match high > 3000 && c.kind == "INTEGER" && high - low > 500 {
        true => (value / 100 * 100).max(100),
        false => value,
    }
}

/// The words of a condition on a column of `t`.
fn condition(d: &mut Draws, t: &Table) -> String {
    let (text, num) = (t.some(d, true), t.some(d, false));
    match (text, num) {
        (Some(c), num) if num.is_none() || d.chance(0.5) => {
            let v = match &c.values {
                Values::Words(all) => *d.pick(all),
                Values::Range(..) => "",
            };
            if d.chance(0.15) {
                return format!("whose {} is not {v}", c.words);
            }
            match d.below(3) {
                0 => format!("whose {} is {v}", c.words),
                1 => format!("with {} {v}", c.words),
                _ => format!("that have {v} as {}", c.words),
            }
        }
        (_, Some(c)) => {
            let (a, b) = (number(d, c), number(d, c));
            if d.chance(0.15) {
                return format!("with {} between {} and {}", c.words, a.min(b), a.max(b));
            }
            const OVER: [&str; 7] = [
                "greater than",
                "more than",
                "above",
                "less than",
                "below",
                "at least",
                "at most",
            ];
            match (d.pick(&OVER), d.chance(0.5)) {
                (over, true) => format!("with {} {over} {a}", c.words),
                (over, false) => format!("whose {} is {over} {a}", c.words),
            }
        }
        (_, None) => String::new(),
    }
}

/// A question about one table.
fn single(d: &mut Draws, t: &Table) -> String {
    let (many, one, name) = (t.of.many, t.of.one, t.of.name);
    let (shown, words) = (t.shown(d), condition(d, t));
    let (text, num) = (t.some(d, true), t.some(d, false));
    match (d.below(13), text, num) {
        (0, ..) => format!("How many {many} are there?"),
        (1, ..) => format!("How many {many} are there {words}?"),
        (2, ..) => format!("List the {shown} of {many} {words}."),
        (3, ..) => {
            let and = if d.chance(0.6) { "and" } else { "or" };
            format!(
                "Find the {shown} of {many} {words} {and} {}.",
                condition(d, t)
            )
        }
        (4, _, Some(n)) => {
            let way = d.pick(&["maximum", "minimum", "average", "total"]);
            match d.chance(0.5) {
                true => format!("What is the {way} {} of the {many} {words}?", n.words),
                false => format!("What is the {way} {} of all {many}?", n.words),
            }
        }
        (5, _, Some(n)) => {
            let order = d.pick(&["descending", "decreasing", "ascending", "increasing"]);
            format!(
                "List the {name} of all {many} in {order} order of {}.",
                n.words
            )
        }
        (6, _, Some(n)) => {
            let way = d.pick(&["highest", "largest", "lowest", "smallest"]);
            let who = match d.between(1, 5) {
                1 => format!("the {one}"),
                k => format!("the {k} {many}"),
            };
            format!("What is the {shown} of {who} with the {way} {}?", n.words)
        }
        (7, Some(t), _) => format!("How many {many} are there for each {}?", t.words),
        (8, Some(t), _) => format!("Which {} has at least {} {many}?", t.words, d.between(2, 9)),
        (9, Some(t), Some(n)) => {
            let way = d.pick(&["maximum", "minimum", "average"]);
            format!(
                "What is the {way} {} of {many} for each {}?",
                n.words, t.words
            )
        }
        (10, _, Some(n)) => {
            let side = if d.chance(0.6) { "above" } else { "below" };
            format!(
                "List the {shown} of {many} whose {} is {side} the average.",
                n.words
            )
        }
        (11, Some(t), _) => format!("What are the different {} of {many}?", plural(t.words)),
        _ => {
            let list: Vec<&str> = match t.of.person {
                true => NAMES.split_whitespace().collect(),
                false => CITIES.split(',').collect(),
            };
            let part = d.pick(&list);
            format!("Find the {shown} of {many} whose {name} contains '{part}'.")
        }
    }
}

/// A question about a table and its parent.
fn joined(d: &mut Draws, p: &Table, c: &Table) -> String {
    let (one, parents, of) = (p.of.one, p.of.many, p.of.name);
    let (child, many, name) = (c.of.one, c.of.many, c.of.name);
    match d.below(7) {
        0 => format!(
            "Show the {name} of the {many} of {parents} {}.",
            condition(d, p)
        ),
        1 => format!("For each {one}, show its {of} and the number of its {many}."),
        2 => {
            let most = if d.chance(0.7) { "most" } else { "fewest" };
            format!("Which {one} has the {most} {many}? Give the {of}.")
        }
        3 => format!("Find the {of} of {parents} that have no {child}."),
        4 => {
            let k = d.between(2, 8);
            format!(
                "What are the {} of the {parents} with at least {k} {many}?",
                plural(of)
            )
        }
        5 => {
            let column = d.pick(&p.columns).words;
            let words = condition(d, c);
            format!("What is the {column} of {parents} that have a {child} {words}?")
        }
        _ => {
            let (words, theirs) = (condition(d, c), condition(d, p));
            format!("How many {many} {words} are there for {parents} {theirs}?")
        }
    }
}

/// Tables, then a question as a comment; a query is what comes next.
pub fn prompt(d: &mut Draws) -> String {
    let all = &*ENTITIES;
    let first = d.below(all.len());
    let second = (first + 1 + d.below(all.len() - 1)) % all.len();
    let parent = Table::new(d, &all[first]);
    let child = d.chance(0.75).then(|| Table::new(d, &all[second]));
    let question = match &child {
        Some(child) if d.chance(0.6) => joined(d, &parent, child),
        Some(child) if d.chance(0.5) => single(d, child),
        _ => single(d, &parent),
    };
    let tables = child.map_or(String::new(), |c| c.create(Some(&parent)));
    format!("{}{tables}-- {question}\n", parent.create(None))
}

#[cfg(test)]
mod tests {
    use super::{Draws, ENTITIES, Values, prompt};

    #[test]
    fn entities_are_read_whole() {
        assert_eq!(ENTITIES.len(), 26);
        for e in ENTITIES.iter() {
            assert!(e.columns.len() >= 3, "{}", e.table);
            for c in &e.columns {
                match &c.values {
                    Values::Words(words) => assert!(words.len() > 1, "{} {}", e.table, c.name),
                    Values::Range(low, high) => assert!(low < high, "{} {}", e.table, c.name),
                }
            }
        }
    }

    #[test]
    fn a_prompt_is_tables_and_a_question() {
        let mut d = Draws::new(7);
        let all: Vec<String> = (0..500).map(|_| prompt(&mut d)).collect();
        for text in &all {
            assert!(text.starts_with("CREATE TABLE "), "{text}");
            let last = text.lines().last().unwrap_or_default();
            assert!(
                last.starts_with("-- ") && last.ends_with(['?', '.']),
                "{text}"
            );
            assert!(!text.contains("  ") && text.ends_with('\n'), "{text}");
        }
        let mut different = all.clone();
        different.sort_unstable();
        different.dedup();
        assert!(different.len() > 490, "{}", different.len());
    }
}
