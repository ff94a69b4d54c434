//! Prompts of the math domain: word problems in the form that the built-in models were trained on
//! (`assets/language/generate_problems.py`). The worked answer is what comes next.

use super::draws::Draws;

const HE: &str = "Adam Ben Carlos Dev Ethan Felix George Hassan Ivan James Kofi Liam Marco Noah Omar Paul Ravi Sam Tom Will";
const SHE: &str = "Alice Bella Chloe Dana Emma Fatima Grace Hannah Ines Julia Keiko Lena Maria Nina Olga Priya Rosa Sara \
                   Tina Wendy";
const THINGS: &str = "apples pencils marbles stickers cookies books stamps shells candles muffins oranges cards balloons \
                      buttons flowers bottles eggs cupcakes notebooks coins";
const BOXES: &str = "boxes bags baskets crates jars packs trays shelves drawers rows";
const FOOD: &str = "sandwich pizza salad coffee burger smoothie bagel soup taco juice";
const GOODS: [&str; 10] = [
    "shirt",
    "hat",
    "lamp",
    "chair",
    "jacket",
    "watch",
    "bike",
    "phone case",
    "backpack",
    "table",
];
const JOBS: [&str; 7] = [
    "mowing lawns",
    "walking dogs",
    "washing cars",
    "teaching piano",
    "babysitting",
    "painting fences",
    "delivering papers",
];
const PLACES: [&str; 8] = [
    "the market",
    "the library",
    "school",
    "the park",
    "the station",
    "the beach",
    "a farm",
    "the museum",
];
const DAYS: [&str; 7] = [
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
];
const TIMES: [&str; 6] = ["", "", "twice", "three times", "four times", "five times"];

fn word(d: &mut Draws, list: &'static str) -> &'static str {
    let all: Vec<&str> = list.split_whitespace().collect();
    let found: &&'static str = d.pick(&all);
    found
}

/// A name and its pronoun.
fn person(d: &mut Draws) -> [&'static str; 2] {
    match d.chance(0.5) {
        true => [word(d, HE), "he"],
        false => [word(d, SHE), "she"],
    }
}

fn capital(pronoun: &str) -> &'static str {
    if pronoun == "he" { "He" } else { "She" }
}

/// A prompt: the question, and where its answer begins.
pub fn prompt(d: &mut Draws) -> String {
    let [n, he] = person(d);
    let mut other = person(d)[0];
    while other == n {
        other = person(d)[0];
    }
    let question = match d.below(14) {
        kind @ 0..7 => first_half(d, kind, [n, he, other]),
        kind => second_half(d, kind, [n, he, other]),
    };
    format!("Question: {question}\nAnswer:")
}

fn first_half(d: &mut Draws, kind: usize, [n, he, m]: [&str; 3]) -> String {
    let (things, good) = (word(d, THINGS), *d.pick(&GOODS));
    match kind {
        0 => {
            let (a, b, c) = (d.between(2, 12), d.between(3, 24), d.between(2, 20));
            let (c, container) = (c.min(a * b - 1), word(d, BOXES));
            let verb = d.pick(&["gives away", "loses", "sells", "throws out"]);
            format!(
                "{n} has {a} {container} of {things}. There are {b} {things} in each of the {container}. If {n} {verb} \
                 {c} {things}, how many {things} does {he} have left?"
            )
        }
        1 => {
            let (a, p, b, r) = (
                d.between(2, 9),
                d.between(2, 15),
                d.between(2, 9),
                d.between(1, 12),
            );
            let (f1, mut f2) = (word(d, FOOD), word(d, FOOD));
            while f2 == f1 {
                f2 = word(d, FOOD);
            }
            let q = format!(
                "{n} orders {a} of the {f1} at ${p} each and {b} of the {f2} at ${r} each."
            );
            if d.chance(0.5) {
                return format!("{q} What is the total cost?");
            }
            let pay = ((a * p + b * r) / 20 + d.between(1, 3)) * 20;
            format!("{q} How much change does {he} get from ${pay}?")
        }
        2 => {
            let (rate, hours) = (d.between(6, 30), d.between(2, 9));
            let (days, weeks, job) = (d.between(2, 6), d.between(2, 8), d.pick(&JOBS));
            let q = format!(
                "{n} earns ${rate} an hour {job}. {} works {hours} hours a day, {days} days a week.",
                capital(he)
            );
            match d.chance(0.4) {
                true => format!("{q} How much does {he} earn in a week?"),
                false => format!("{q} How much does {he} earn in {weeks} weeks?"),
            }
        }
        3 => {
            let (age, years) = (d.between(3, 16), d.between(2, 15));
            let times = TIMES[d.between(2, 4) as usize];
            match d.below(3) {
                0 => format!(
                    "{n} is {times} as old as {m}. {m} is {age} years old. How old will {n} be in {years} years?"
                ),
                1 => format!(
                    "{m} is {age} years old and {n} is {times} as old. What is the sum of their ages?"
                ),
                _ => format!(
                    "{m} is {age}. {n} is {times} as old as {m}. How many years older is {n} than {m}?"
                ),
            }
        }
        4 => {
            let (percent, price) = (d.pick(&[10, 20, 25, 30, 40, 50]), d.between(2, 30) * 20);
            let q = match d.chance(0.5) {
                true => format!("A {good} costs ${price}, but it is on sale at {percent}% off."),
                false => format!(
                    "{n} wants a {good} that costs ${price}. The shop takes {percent}% off the price."
                ),
            };
            match d.chance(0.5) {
                true => format!("{q} What is the sale price of the {good}?"),
                false => format!("{q} How much does {n} pay for {} of them?", d.between(2, 6)),
            }
        }
        5 => {
            let (v, h, w, g) = (
                d.between(3, 70),
                d.between(2, 8),
                d.between(3, 70),
                d.between(2, 8),
            );
            let (place, way) = (d.pick(&PLACES), d.pick(&["drives", "cycles", "travels"]));
            format!(
                "On the way to {place}, {n} {way} at {v} miles per hour for {h} hours and then at {w} miles per hour \
                 for {g} hours. How many miles does {he} cover in total?"
            )
        }
        _ => {
            let (each, friends, extra) = (d.between(2, 15), d.between(2, 9), d.between(1, 30));
            let (have, how) = match each * friends > extra {
                true => (each * friends - extra, "buys"),
                false => (each * friends + extra, "loses"),
            };
            let more = if how == "buys" { " more" } else { "" };
            format!(
                "{n} has {have} {things} and {how} {extra}{more}. The {things} are then shared equally among {friends} \
                 friends. How many {things} does each friend get?"
            )
        }
    }
}

fn second_half(d: &mut Draws, kind: usize, [n, he, m]: [&str; 3]) -> String {
    let (things, good) = (word(d, THINGS), *d.pick(&GOODS));
    match kind {
        7 => {
            let (per, weeks, have) = (d.between(3, 40), d.between(3, 20), d.between(1, 60));
            format!(
                "{n} wants to buy a {good} that costs ${}. {} already has ${have} and saves ${per} each week. How many \
                 weeks does {he} need?",
                per * weeks + have,
                capital(he)
            )
        }
        8 => {
            let day = d.below(5);
            let (a, k, b) = (d.between(4, 40), d.between(2, 5), d.between(2, 20));
            let more = if d.chance(0.5) || a * k <= b {
                "more"
            } else {
                "fewer"
            };
            let verbs = [
                ("sell", "sold"),
                ("make", "made"),
                ("collect", "collected"),
                ("count", "counted"),
            ];
            let (verb, past) = d.pick(&verbs);
            format!(
                "{n} {past} {a} {things} on {}, {} as many on {}, and {b} {more} on {} than on {}. How many {things} did \
                 {he} {verb} over the three days?",
                DAYS[day],
                TIMES[k as usize],
                DAYS[day + 1],
                DAYS[day + 2],
                DAYS[day + 1]
            )
        }
        9 => {
            let (w, h, cost) = (d.between(3, 40), d.between(3, 40), d.between(2, 15));
            let what = d.pick(&["garden", "room", "field", "yard", "patio"]);
            match d.chance(0.5) {
                true => format!(
                    "{n}'s {what} is {w} feet long and {h} feet wide. Covering it costs ${cost} per square foot. How \
                     much does it cost to cover the whole {what}?"
                ),
                false => format!(
                    "{n} builds a fence around a {what} that is {w} feet long and {h} feet wide. A foot of fence costs \
                     ${cost}. How much does the fence cost?"
                ),
            }
        }
        10 => {
            let (k, part) = *d.pick(&[
                (2, "half"),
                (3, "a third"),
                (4, "a quarter"),
                (5, "a fifth"),
            ]);
            let one = d.between(2, 30);
            let left = k * one - one;
            let extra = d.between(1, 20).min(left - 1).max(1);
            let verb = d.pick(&["loses", "breaks", "uses"]);
            format!(
                "{n} has {} {things}. {} gives {part} of them to {m} and then {verb} {extra}. How many {things} does {n} \
                 have now?",
                k * one,
                capital(he)
            )
        }
        11 => format!(
            "A group goes to {0} in {1} buses with {2} people in each, and in {3} cars with {4} people in each. How many \
             people go to {0}?",
            d.pick(&PLACES),
            d.between(2, 12),
            d.between(10, 50),
            d.between(2, 30),
            d.between(2, 5)
        ),
        12 => {
            let what = d.pick(&["flour", "sugar", "milk", "rice", "butter"]);
            let thing = d.pick(&["cakes", "loaves", "pies", "batches of cookies"]);
            let (cups, k, price) = (d.between(2, 6), d.between(2, 14), d.between(1, 4));
            if d.chance(0.5) {
                return format!(
                    "A recipe needs {cups} cups of {what}. {n} makes {k} {thing} with it, using the recipe once for \
                     each. If a cup of {what} costs ${price}, how much does the {what} cost?"
                );
            }
            let have = d.between(1, cups * k - 1);
            format!(
                "{n} wants to make {k} {thing}. Each needs {cups} cups of {what}, and {he} has {have} cups. How many \
                 more cups of {what} does {he} need?"
            )
        }
        _ => {
            let (p, days, rest, q) = (
                d.between(5, 40),
                d.between(2, 9),
                d.between(1, 9),
                d.between(5, 40),
            );
            format!(
                "{n} is reading a book of {} pages. {} reads {p} pages a day for {days} days, and then {q} pages a day. \
                 How many more days does {he} need to finish the book?",
                p * days + q * rest,
                capital(he)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Draws, prompt};

    #[test]
    fn a_prompt_is_a_question_that_awaits_its_answer() {
        let mut d = Draws::new(1);
        let mut all: Vec<String> = (0..700).map(|_| prompt(&mut d)).collect();
        for text in &all {
            assert!(
                text.starts_with("Question: ") && text.ends_with("?\nAnswer:"),
                "{text}"
            );
            assert!(!text.contains("  "), "{text}");
            assert!(!text.contains("-"), "a negative number: {text}");
        }
        all.sort_unstable();
        all.dedup();
        assert!(all.len() > 690, "{}", all.len());
    }
}
