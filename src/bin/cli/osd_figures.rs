//! The paper's figures, from what `osd` measured.

use super::osd_report::write;
use cascadia::engine::osd::scores::{average, mean, moving, window};
use cascadia::engine::osd::{Kind, Measure, Run, Stream};
use cascadia::{Error, Result};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;

const PANEL: (u32, u32) = (480, 320);
const GREY: RGBColor = RGBColor(130, 130, 130);
const BLUE: RGBColor = RGBColor(31, 119, 180);
const GREEN: RGBColor = RGBColor(44, 160, 44);
const ORANGE: RGBColor = RGBColor(230, 126, 20);
const RED: RGBColor = RGBColor(200, 40, 40);
const VIOLET: RGBColor = RGBColor(148, 103, 189);

type Curve = Vec<Option<f64>>;

/// A line of a panel.
struct Line {
    label: String,
    color: RGBColor,
    curve: Curve,
}

struct Panel {
    title: String,
    lines: Vec<Line>,
    /// Where domains change.
    marks: Vec<usize>,
}

/// What is drawn of all runs.
struct Drawn<'a> {
    runs: &'a [Run],
    measure: Measure,
}

impl Drawn<'_> {
    /// The moving mean of `arm` on `stream`, the mean over the seeds; of one domain's requests where given.
    fn curve(&self, stream: Stream, arm: Kind, domain: Option<usize>) -> Option<Curve> {
        let all: Vec<Curve> = (self.runs.iter())
            .filter(|r| r.stream == stream && r.arm == arm)
            .map(|r| {
                let hidden = |d: usize| domain.is_some_and(|only| only != d);
                let score = |row| self.measure.score(row);
                let scores: Curve = (r.rows.iter())
                    .map(|row| if hidden(row.domain) { None } else { score(row) })
                    .collect();
                moving(&scores, window(scores.len()))
            })
            .collect();
        let curve = average(&all);
        curve.iter().any(Option::is_some).then_some(curve)
    }

    /// The arms that were run, each as a line; those that do not learn as a level where `levels`.
    fn lines(&self, stream: Stream, levels: bool) -> Vec<Line> {
        let one = |(arm, color): &(Kind, RGBColor)| {
            let mut curve = self.curve(stream, *arm, None)?;
            let fixed = !matches!(arm, Kind::Online8 | Kind::Online1);
            if levels && fixed {
                let level = mean(&curve);
                curve.fill(level);
            }
            Some(Line {
                label: arm.name().into(),
                color: *color,
                curve,
            })
        };
        let arms = [
            (Kind::Static, GREY),
            (Kind::Tenth, ORANGE),
            (Kind::Offline, GREEN),
            (Kind::Online1, VIOLET),
            (Kind::Online8, BLUE),
        ];
        arms.iter().filter_map(one).collect()
    }
}

/// Draws what was run into `folder`; the names of the files. The numbers are the paper's: 3, domains one by one; 4, a
/// sharp shift; 6, one draft against one for each domain; 9, two domains mixed; 11, an abrupt against a gradual shift.
pub fn draw(
    folder: &Path,
    runs: &[Run],
    measure: Measure,
    domains: &[String],
) -> Result<Vec<String>> {
    let all = Drawn { runs, measure };
    let n = runs.iter().map(|r| r.rows.len()).max().unwrap_or(0);
    let panel = |title: String, lines, marks| Panel {
        title,
        lines,
        marks,
    };
    let mut stationary: Vec<Panel> = Vec::new();
    for (i, name) in domains.iter().enumerate() {
        let lines = all.lines(Stream::Stationary(i), true);
        stationary.push(panel(name.clone(), lines, Vec::new()));
    }
    let marks = (1..domains.len()).map(|s| (s * n).div_ceil(domains.len()));
    let sharp = panel(
        format!("sharp shift: {}", domains.join(", ")),
        all.lines(Stream::Sharp, false),
        marks.collect(),
    );
    let (mut shifts, mut mixed, mut routed) = (Vec::new(), Vec::new(), Vec::new());
    // A panel of the requests of one domain.
    let share = |name: &str, stream, domain: usize, arms: &[(Kind, &str, RGBColor)]| {
        let line = |&(arm, label, color): &(Kind, &str, RGBColor)| {
            Some(Line {
                label: label.into(),
                color,
                curve: all.curve(stream, arm, Some(domain))?,
            })
        };
        let lines = arms.iter().filter_map(line).collect();
        panel(format!("{name}: {}", domains[domain]), lines, vec![])
    };
    for (name, stream) in Stream::all(domains) {
        match stream {
            Stream::Abrupt { .. } => {
                shifts.push(panel(name, all.lines(stream, false), vec![n / 2]));
            }
            Stream::Gradual { .. } => shifts.push(panel(name, all.lines(stream, false), vec![])),
            Stream::Interleaved { a, b } => {
                let arms = [Kind::Static, Kind::Online1, Kind::Online8];
                let arms = arms.into_iter().zip([GREY, VIOLET, BLUE]);
                let arms: Vec<_> = arms.map(|(arm, color)| (arm, arm.name(), color)).collect();
                mixed.extend([a, b].map(|domain| share(&name, stream, domain, &arms)));
            }
            Stream::Mixed => {
                let arms = [
                    (Kind::Static, "static", GREY),
                    (Kind::Online8, "online-8: one draft for all", BLUE),
                    (Kind::Routed, "routed: a draft for each", RED),
                ];
                let panels = (0..domains.len()).map(|domain| share(&name, stream, domain, &arms));
                routed.extend(panels);
            }
            _ => {}
        }
    }
    let mut out = Vec::new();
    for (name, panels) in [
        ("figure3.svg", stationary),
        ("figure4.svg", vec![sharp]),
        ("figure6.svg", routed),
        ("figure9.svg", mixed),
        ("figure11.svg", shifts),
    ] {
        let panels: Vec<Panel> = (panels.into_iter())
            .filter(|p| !p.lines.is_empty())
            .collect();
        if panels.is_empty() {
            continue;
        }
        let text = picture(&panels, measure)
            .map_err(|e| Error::file(folder.join(name), format!("cannot be drawn: {e}")))?;
        write(&folder.join(name), &text)?;
        out.push(name.to_string());
    }
    Ok(out)
}

/// Panels in two columns.
fn picture(panels: &[Panel], measure: Measure) -> Result<String, String> {
    let columns = panels.len().min(2);
    let rows = panels.len().div_ceil(2);
    let mut text = String::new();
    {
        let size = (PANEL.0 * columns as u32, PANEL.1 * rows as u32);
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&WHITE).map_err(|e| e.to_string())?;
        for (area, panel) in area.split_evenly((rows, columns)).iter().zip(panels) {
            chart(area, panel, measure)?;
        }
        area.present().map_err(|e| e.to_string())?;
    }
    Ok(text)
}

fn chart(
    area: &DrawingArea<SVGBackend, Shift>,
    panel: &Panel,
    measure: Measure,
) -> Result<(), String> {
    let fault = |e: &dyn std::fmt::Display| e.to_string();
    let values = || panel.lines.iter().flat_map(|l| l.curve.iter().flatten());
    let least = values().fold(1.0f64, |a, &b| a.min(b));
    let most = values().fold(0.0f64, |a, &b| a.max(b));
    let (low, high) = ((least - 0.05).max(0.0), (most + 0.05).min(1.0));
    let n = panel.lines.iter().map(|l| l.curve.len()).max().unwrap_or(1);
    let mut chart = ChartBuilder::on(area)
        .caption(&panel.title, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(32)
        .y_label_area_size(44)
        .build_cartesian_2d(0..n.max(2), low..high.max(low + 0.1))
        .map_err(|e| fault(&e))?;
    (chart.configure_mesh())
        .x_desc("requests")
        .y_desc(measure.name())
        .light_line_style(WHITE)
        .draw()
        .map_err(|e| fault(&e))?;
    for &at in &panel.marks {
        let line = LineSeries::new([(at, low), (at, high)], GREY.mix(0.5));
        chart.draw_series(line).map_err(|e| fault(&e))?;
    }
    for line in &panel.lines {
        let points = (line.curve.iter().enumerate()).filter_map(|(i, v)| v.map(|v| (i, v)));
        let color = line.color;
        (chart.draw_series(LineSeries::new(points, color.stroke_width(2))))
            .map_err(|e| fault(&e))?
            .label(&line.label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    (chart.configure_series_labels())
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.8))
        .border_style(GREY)
        .draw()
        .map_err(|e| fault(&e))
}
