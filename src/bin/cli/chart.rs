//! The chart of `profile --html`, as inline SVG.

use super::page::escape;
use super::table::percent;
use cascadia::shader::Category;
use std::fmt::Write;

/// The chart's inner width, in its own units.
const WIDE: f64 = 640.0;
const BAR: f64 = 26.0;

const fn colour(category: Category) -> &'static str {
    match category {
        Category::Reshape => "#b3b3b3",
        Category::Elementwise => "#e5a50a",
        Category::Reduce => "#c061cb",
        Category::Depthwise => "#2ec27e",
        Category::Convolution => "#1c9aa0",
        Category::Matmul => "#3584e4",
        Category::Attention => "#e0533d",
        Category::Sample => "#9a6a4f",
    }
}

/// A plan's name, its share of each category, and what they come to.
pub type Bar<'a> = (&'a str, Vec<f64>, String);

/// A stacked bar for each plan, all to one scale, and what the colours mean.
pub fn stacked(page: &mut String, title: &str, bars: &[Bar<'_>]) {
    let most = (bars.iter().map(|b| b.1.iter().sum::<f64>())).fold(f64::MIN_POSITIVE, f64::max);
    let height = bars.len() as f64 * (BAR + 10.0) + 30.0;
    let _ = writeln!(
        page,
        "<h2>{title}</h2>\n<svg viewBox=\"0 0 {} {height}\" width=\"{}\" role=\"img\" aria-label=\"{title}\">",
        WIDE + 190.0,
        WIDE + 190.0
    );
    for (i, (name, parts, total)) in bars.iter().enumerate() {
        let y = i as f64 * (BAR + 10.0);
        let middle = y + BAR * 0.68;
        let _ = writeln!(
            page,
            "<text x=\"0\" y=\"{middle:.1}\">{}</text>",
            escape(name)
        );
        let mut x = 70.0;
        let all: f64 = parts.iter().sum();
        for (category, part) in Category::ALL.into_iter().zip(parts) {
            let wide = part / most * WIDE;
            if wide > 0.0 {
                let _ = writeln!(
                    page,
                    "<rect x=\"{x:.2}\" y=\"{y:.1}\" width=\"{wide:.2}\" height=\"{BAR}\" fill=\"{}\">\
                     <title>{}: {}%</title></rect>",
                    colour(category),
                    category.name(),
                    percent(Some(*part), Some(all))
                );
            }
            x += wide;
        }
        let _ = writeln!(
            page,
            "<text x=\"{:.1}\" y=\"{middle:.1}\">{total}</text>",
            x + 8.0
        );
    }
    let y = height - 6.0;
    let has = |i: usize| (bars.iter()).any(|b| b.1.get(i).is_some_and(|part| *part > 0.0));
    let shown: Vec<Category> = (Category::ALL.into_iter().enumerate())
        .filter_map(|(i, category)| has(i).then_some(category))
        .collect();
    let step = ((WIDE + 120.0) / shown.len().max(1) as f64).min(108.0);
    for (i, category) in shown.into_iter().enumerate() {
        let x = 70.0 + i as f64 * step;
        let _ = writeln!(
            page,
            "<rect x=\"{x}\" y=\"{:.1}\" width=\"11\" height=\"11\" fill=\"{}\"/><text x=\"{}\" y=\"{y:.1}\">{}</text>",
            y - 10.0,
            colour(category),
            x + 15.0,
            category.name()
        );
    }
    page.push_str("</svg>\n");
}
