//! Loops written out: a line `//!unroll` before a `for` over constants makes the host repeat its body, with the
//! loop's variable a constant. Neither naga nor Tint unrolls, and an array of matrices or of vectors stays in
//! registers only where every index into it is a constant: on one GPU that is the difference between 32 and 74
//! TFLOP/s.

use std::collections::HashMap;

/// A line of a composed module, and the file and line that it came from.
pub(super) type Line = (String, &'static str, u32);

/// `lines` with every marked loop written out, or what is wrong with one and where.
pub(super) fn unroll(lines: Vec<Line>) -> Result<Vec<Line>, (String, &'static str, u32)> {
    if !lines.iter().any(|l| l.0.trim() == "//!unroll") {
        return Ok(lines);
    }
    let consts = Consts::of(&lines);
    expand(&lines, &consts)
}

fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

fn expand(lines: &[Line], consts: &Consts) -> Result<Vec<Line>, (String, &'static str, u32)> {
    let mut out = Vec::with_capacity(lines.len());
    let mut at = 0;
    while at < lines.len() {
        let (text, file, number) = &lines[at];
        if text.trim() != "//!unroll" {
            out.push(lines[at].clone());
            at += 1;
            continue;
        }
        let wrong = |what: &str| (what.to_string(), *file, *number);
        let header = lines.get(at + 1).ok_or_else(|| wrong("no loop follows"))?;
        let head = code(&header.0).trim();
        let (name, from, to, step) = parts(head, consts).ok_or_else(|| {
            wrong("no loop `for (var i = A; i < B; i += C) {` over constants follows")
        })?;
        let open = head
            .find('{')
            .ok_or_else(|| wrong("the loop's `{` is not on its line"))?;
        let mut depth = 0i32;
        let mut end = None;
        'lines: for (i, line) in lines.iter().enumerate().skip(at + 1) {
            for c in code(&line.0).chars() {
                depth += match c {
                    '{' => 1,
                    '}' => -1,
                    _ => 0,
                };
                if c == '}' && depth == 0 {
                    end = Some(i);
                    break 'lines;
                }
            }
        }
        let end = end.ok_or_else(|| wrong("the loop does not end"))?;
        let body: Vec<Line> = if end == at + 1 {
            let close = head.rfind('}').unwrap_or(head.len());
            vec![(head[open + 1..close].to_string(), header.1, header.2)]
        } else {
            lines[at + 2..end].to_vec()
        };
        let body = expand(&body, consts)?;
        let mut value = from;
        while value < to {
            out.push((format!("{{ const {name} = {value}u;"), header.1, header.2));
            out.extend(body.iter().cloned());
            out.push(("}".into(), lines[end].1, lines[end].2));
            value += step;
        }
        at = end + 1;
    }
    Ok(out)
}

/// Name, first value, bound and step of `for (var i = A; i < B; i += C)`.
fn parts<'a>(head: &'a str, consts: &Consts) -> Option<(&'a str, i64, i64, i64)> {
    let inner = head.strip_prefix("for (var ")?;
    let mut three = inner.splitn(3, ';');
    let (name, from) = three.next()?.split_once('=')?;
    let (_, to) = three.next()?.split_once('<')?;
    let (_, step) = three.next()?.split_once("+=")?;
    let step = step.split(") {").next()?;
    let (from, to, step) = (consts.value(from)?, consts.value(to)?, consts.value(step)?);
    (step > 0).then_some((name.trim(), from, to, step))
}

/// The module's constants, by the text of their values.
struct Consts(HashMap<String, String>);

impl Consts {
    fn of(lines: &[Line]) -> Self {
        let pairs = lines.iter().filter_map(|l| {
            let (name, value) = code(&l.0).strip_prefix("const ")?.split_once('=')?;
            let name = name.split(':').next()?.trim();
            Some((
                name.to_string(),
                value.trim().trim_end_matches(';').to_string(),
            ))
        });
        Self(pairs.collect())
    }

    /// The value of a constant expression over u32 and bool; `None` where it is none.
    fn value(&self, text: &str) -> Option<i64> {
        self.evaluate(text, 0)
    }

    fn evaluate(&self, text: &str, depth: u32) -> Option<i64> {
        let mut parser = Parser {
            tokens: tokens(text)?,
            at: 0,
            consts: self,
            depth,
        };
        let value = parser.binary(0)?;
        (depth < 32 && parser.at == parser.tokens.len()).then_some(value)
    }
}

fn tokens(text: &str) -> Option<Vec<String>> {
    let mut out: Vec<String> = Vec::new();
    let chars: Vec<char> = text.chars().collect();
    let mut i = 0;
    while i < chars.len() {
        let c = chars[i];
        let start = i;
        if c.is_whitespace() {
            i += 1;
            continue;
        } else if c.is_alphanumeric() || c == '_' {
            while i < chars.len() && (chars[i].is_alphanumeric() || chars[i] == '_') {
                i += 1;
            }
        } else {
            let two: String = chars[i..chars.len().min(i + 2)].iter().collect();
            i += if ["<=", ">=", "==", "!=", "&&", "||"].contains(&two.as_str()) {
                2
            } else if "+-*/%()<>!,".contains(c) {
                1
            } else {
                return None;
            };
        }
        out.push(chars[start..i].iter().collect());
    }
    Some(out)
}

struct Parser<'a> {
    tokens: Vec<String>,
    at: usize,
    consts: &'a Consts,
    depth: u32,
}

/// Operators by how tightly they bind.
const LEVELS: [&[&str]; 5] = [
    &["||"],
    &["&&"],
    &["<=", ">=", "==", "!=", "<", ">"],
    &["+", "-"],
    &["*", "/", "%"],
];

impl Parser<'_> {
    fn take(&mut self, token: &str) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|t| t == token);
        self.at += usize::from(found);
        found
    }

    fn binary(&mut self, level: usize) -> Option<i64> {
        let Some(operators) = LEVELS.get(level) else {
            return self.primary();
        };
        let mut left = self.binary(level + 1)?;
        while let Some(op) = operators.iter().find(|o| self.take(o)) {
            let right = self.binary(level + 1)?;
            left = match *op {
                "||" => i64::from(left != 0 || right != 0),
                "&&" => i64::from(left != 0 && right != 0),
                "<=" => i64::from(left <= right),
                ">=" => i64::from(left >= right),
                "==" => i64::from(left == right),
                "!=" => i64::from(left != right),
                "<" => i64::from(left < right),
                ">" => i64::from(left > right),
                "+" => left.checked_add(right)?,
                "-" => left.checked_sub(right)?,
                "*" => left.checked_mul(right)?,
                "/" => left.checked_div(right)?,
                _ => left.checked_rem(right)?,
            };
        }
        Some(left)
    }

    fn primary(&mut self) -> Option<i64> {
        if self.take("!") {
            return Some(i64::from(self.primary()? == 0));
        }
        if self.take("(") {
            let value = self.binary(0)?;
            return self.take(")").then_some(value);
        }
        let token = self.tokens.get(self.at)?.clone();
        self.at += 1;
        if self.take("(") {
            let mut args = vec![self.binary(0)?];
            while self.take(",") {
                args.push(self.binary(0)?);
            }
            return match (token.as_str(), args.as_slice(), self.take(")")) {
                ("min", [a, b], true) => Some(*a.min(b)),
                ("max", [a, b], true) => Some(*a.max(b)),
                ("select", [no, yes, which], true) => Some(if *which != 0 { *yes } else { *no }),
                _ => None,
            };
        }
        match token.as_str() {
            "true" => Some(1),
            "false" => Some(0),
            t if t.starts_with(|c: char| c.is_ascii_digit()) => {
                t.trim_end_matches('u').parse().ok()
            }
            name => self
                .consts
                .evaluate(self.consts.0.get(name)?, self.depth + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Line> {
        (text.lines().enumerate())
            .map(|(i, l)| (l.to_string(), "f", i as u32 + 1))
            .collect()
    }

    #[test]
    fn a_marked_loop_is_written_out_with_its_variable_a_constant() {
        let text = "const N = max(1u, A / 2u) + 1u;\nconst A = 2u;\n//!unroll\nfor (var i = 0u; i < N; i += 1u) {\n//!unroll\nfor (var j = 0u; j < 4u; j += 2u) { c[i] = j; }\n}\nrest";
        let out = unroll(lines(text)).unwrap();
        let text: Vec<&str> = out.iter().map(|l| l.0.trim()).collect();
        assert_eq!(text.iter().filter(|l| **l == "c[i] = j;").count(), 4);
        assert_eq!(
            text.iter().filter(|l| l.starts_with("{ const i")).count(),
            2
        );
        assert!(text.contains(&"{ const j = 2u;") && text.last() == Some(&"rest"));
    }

    #[test]
    fn a_loop_that_is_not_over_constants_is_refused() {
        let text = "//!unroll\nfor (var i = 0u; i < params.n; i += 1u) { x(); }";
        assert_eq!(unroll(lines(text)).unwrap_err().2, 1);
    }
}
