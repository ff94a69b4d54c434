//! The page that `profile --html` writes: one file with its style and its chart, nothing fetched.

use super::chart::{self, Bar};
use super::table::{mib, ms, percent};
use cascadia::engine::profile::Profile;
use cascadia::shader::Category;
use std::fmt::Write;

const STYLE: &str = "
:root { color-scheme: light dark }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.3rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px }
td, th { padding: .15rem .6rem; text-align: right; border-bottom: 1px solid #8884 }
td.t, th.t { text-align: left }
.scroll { overflow-x: auto } svg { max-width: 100%; height: auto } svg text { fill: currentColor; font-size: 13px }
";

/// `plans` by name, as a page.
pub fn html(title: &str, notes: &str, plans: &[(&str, Profile)]) -> String {
    let title = escape(title);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
         <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n<p>{}</p>\n",
        escape(notes)
    );
    let time = |p: &Profile| {
        p.shares()
            .iter()
            .map(|s| s.gpu_ms)
            .collect::<Option<Vec<f64>>>()
    };
    let times: Option<Vec<Bar>> = (plans.iter())
        .map(|(name, p)| Some((*name, time(p)?, format!("{} ms", ms(p.dispatches_ms())))))
        .collect();
    if let Some(times) = times {
        chart::stacked(&mut page, "GPU time by category", &times);
    }
    let bytes: Vec<Bar> = (plans.iter())
        .map(|(name, p)| {
            let parts = p.shares().iter().map(|s| s.bytes as f64).collect();
            (*name, parts, format!("{} MiB", mib(p.bytes())))
        })
        .collect();
    chart::stacked(&mut page, "Bytes moved by category", &bytes);
    summary(&mut page, plans);
    for (name, p) in plans {
        dispatches(&mut page, name, p);
    }
    page.push_str("</body></html>\n");
    page
}

fn summary(page: &mut String, plans: &[(&str, Profile)]) {
    page.push_str(
        "<h2>Shares</h2>\n<div class=\"scroll\"><table><tr><th class=\"t\">category</th>",
    );
    for (name, _) in plans {
        let name = escape(name);
        let _ = write!(
            page,
            "<th>{name}: dispatches</th><th>ms</th><th>%</th><th>MiB</th><th>%</th>"
        );
    }
    page.push_str("</tr>\n");
    for (i, category) in Category::ALL.into_iter().enumerate() {
        let _ = write!(page, "<tr><td class=\"t\">{}</td>", category.name());
        for (_, p) in plans {
            if let Some(s) = p.shares().get(i) {
                let _ = write!(
                    page,
                    "<td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>",
                    s.dispatches,
                    ms(s.gpu_ms),
                    percent(s.gpu_ms, p.dispatches_ms()),
                    mib(s.bytes),
                    percent(Some(s.bytes as f64), Some(p.bytes() as f64))
                );
            }
        }
        page.push_str("</tr>\n");
    }
    let mut row = |name: &str, cell: &dyn Fn(&Profile) -> [String; 3]| {
        let _ = write!(page, "<tr><th class=\"t\">{name}</th>");
        for (_, p) in plans {
            let [count, ms, mib] = cell(p);
            let _ = write!(
                page,
                "<td>{count}</td><td>{ms}</td><td></td><td>{mib}</td><td></td>"
            );
        }
        page.push_str("</tr>\n");
    };
    let none = String::new;
    row("all dispatches", &|p| {
        [
            p.dispatches.len().to_string(),
            ms(p.dispatches_ms()),
            mib(p.bytes()),
        ]
    });
    row("whole plan on the GPU", &|p| {
        [none(), ms(p.total_ms), none()]
    });
    row("submit to logits", &|p| {
        [none(), ms(Some(p.wall_ms)), none()]
    });
    page.push_str("</table></div>\n");
}

fn dispatches(page: &mut String, name: &str, p: &Profile) {
    let _ = write!(
        page,
        "<h2>Every dispatch, {}</h2>\n<div class=\"scroll\"><table><tr><th></th><th>ms</th><th>%</th><th>MiB</th>\
         <th>MMAC</th><th class=\"t\">category</th><th class=\"t\">where</th><th class=\"t\">op</th>\
         <th class=\"t\">kernel</th></tr>\n",
        escape(name)
    );
    let all = p.dispatches_ms();
    for (i, r) in p.dispatches.iter().enumerate() {
        let _ = writeln!(
            page,
            "<tr><td>{i}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.2}</td><td class=\"t\">{}</td>\
             <td class=\"t\">{}</td><td class=\"t\">{}</td><td class=\"t\">{}</td></tr>",
            ms(r.gpu_ms),
            percent(r.gpu_ms, all),
            mib(r.bytes),
            r.macs as f64 / 1e6,
            r.category.name(),
            escape(&r.scope),
            r.op,
            escape(&r.label)
        );
    }
    page.push_str("</table></div>\n");
}

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}
