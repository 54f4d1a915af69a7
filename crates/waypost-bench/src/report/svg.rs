//! The picture: throughput against the number of clients, both on logarithmic scales.

use std::fmt::Write as _;

use super::{grouped, short};
use crate::options::SIZE;
use crate::results::{Key, Results, Spread};
use crate::system::System;

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 460.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 190.0;
const TOP: f64 = 56.0;
const BOTTOM: f64 = 52.0;

struct Line {
    name: &'static str,
    colour: &'static str,
    dashes: &'static str,
    points: Vec<(f64, Spread)>,
}

struct Scale {
    from: f64,
    to: f64,
    start: f64,
    end: f64,
}

impl Scale {
    fn at(&self, value: f64) -> f64 {
        let span = (self.to.log10() - self.from.log10()).max(1e-9);
        self.start + (value.log10() - self.from.log10()) / span * (self.end - self.start)
    }
}

fn look(system: System) -> (&'static str, &'static str) {
    match system.name() {
        "raw" => ("#8a8f98", "2 4"),
        "nats" => ("#2f9e44", ""),
        "redis-pubsub" => ("#e03131", ""),
        "brokerless" => ("#1c4fd6", ""),
        "brokerless-redis" => ("#1c4fd6", "7 4"),
        "broker-tcp" => ("#e8850c", ""),
        "broker-tcp-redis" => ("#e8850c", "7 4"),
        _ => ("#9c36b5", ""),
    }
}

fn lines(results: &Results) -> Vec<Line> {
    const METRIC: &str = "messages_per_second";
    let counts = results.clients("best_effort", METRIC);
    let line = |system: System| {
        let (colour, dashes) = look(system);
        let points = counts
            .iter()
            .filter_map(|&clients| {
                let key = Key {
                    system: system.name(),
                    phase: "best_effort",
                    metric: METRIC,
                    clients,
                    size: SIZE,
                };
                Some((
                    clients as f64,
                    results.spread(key).filter(|spread| spread.min > 0.0)?,
                ))
            })
            .collect();
        Line {
            name: system.name(),
            colour,
            dashes,
            points,
        }
    };
    let mut lines: Vec<Line> = results.systems().into_iter().map(line).collect();
    lines.retain(|line| !line.points.is_empty());
    lines
}

pub(super) fn throughput(results: &Results) -> String {
    let lines = lines(results);
    let points = || lines.iter().flat_map(|line| &line.points);
    let fold =
        |values: &mut dyn Iterator<Item = f64>, pick: fn(f64, f64) -> f64| values.reduce(pick).unwrap_or(1.0);
    let (x_min, x_max) = (
        fold(&mut points().map(|(x, _)| *x), f64::min),
        fold(&mut points().map(|(x, _)| *x), f64::max),
    );
    let (y_min, y_max) = (
        fold(&mut points().map(|(_, y)| y.min), f64::min),
        fold(&mut points().map(|(_, y)| y.max), f64::max),
    );
    let x = Scale {
        from: x_min,
        to: x_max,
        start: LEFT + 10.0,
        end: WIDTH - RIGHT - 10.0,
    };
    let y = Scale {
        from: y_min * 0.8,
        to: y_max * 1.25,
        start: HEIGHT - BOTTOM,
        end: TOP,
    };
    let mut svg = String::new();
    // Writing to a string cannot fail, here and below.
    let _ = write!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"system-ui, sans-serif\" \
         font-size=\"12\" fill=\"#22262b\">\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\" font-weight=\"600\">Messages a second against clients of each server\
         </text>\n<text x=\"{LEFT}\" y=\"40\" fill=\"#666c74\">best effort, {SIZE} B; {}, {}; {} rounds: median, and from \
         least to most</text>\n",
        escaped(&results.date),
        escaped(&results.machine),
        results.rounds
    );
    axes(&mut svg, results, &x, &y);
    for line in &lines {
        draw(&mut svg, line, &x, &y);
    }
    names(&mut svg, &lines, &y);
    svg.push_str("</svg>\n");
    svg
}

fn axes(svg: &mut String, results: &Results, x: &Scale, y: &Scale) {
    let mut decade = 1.0;
    while decade <= y.to {
        for step in [1.0, 2.0, 5.0] {
            let value = decade * step;
            if value >= y.from && value <= y.to {
                let at = y.at(value);
                let _ = writeln!(
                    svg,
                    "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#e3e6ea\"/><text x=\"{:.1}\" \
                     y=\"{:.1}\" text-anchor=\"end\" fill=\"#666c74\">{}</text>",
                    WIDTH - RIGHT,
                    LEFT - 8.0,
                    at + 4.0,
                    short(value).replace(".00", "").replace(".0 ", " ")
                );
            }
        }
        decade *= 10.0;
    }
    for clients in results.clients("best_effort", "messages_per_second") {
        let at = x.at(clients as f64);
        let bottom = HEIGHT - BOTTOM;
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"#f0f2f4\"/><text x=\"{at:.1}\" \
             y=\"{:.1}\" text-anchor=\"middle\" fill=\"#666c74\">{}</text>",
            bottom + 18.0,
            grouped(clients)
        );
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" fill=\"#666c74\">clients of each server</text>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 12.0
    );
}

fn draw(svg: &mut String, line: &Line, x: &Scale, y: &Scale) {
    let Line {
        colour,
        dashes,
        points,
        ..
    } = line;
    let path: Vec<String> = points
        .iter()
        .map(|(clients, spread)| format!("{:.1},{:.1}", x.at(*clients), y.at(spread.median)))
        .collect();
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>",
        path.join(" ")
    );
    for (clients, spread) in points {
        let (at, median) = (x.at(*clients), y.at(spread.median));
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" stroke-opacity=\"0.45\" \
             stroke-width=\"3\"/><circle cx=\"{at:.1}\" cy=\"{median:.1}\" r=\"3.2\" fill=\"{colour}\"/>",
            y.at(spread.min),
            y.at(spread.max)
        );
    }
}

/// Each line's name at its right end, moved apart where they would cover each other.
fn names(svg: &mut String, lines: &[Line], y: &Scale) {
    const APART: f64 = 16.0;
    let mut labels: Vec<(f64, &Line)> = lines
        .iter()
        .filter_map(|line| Some((y.at(line.points.last()?.1.median), line)))
        .collect();
    labels.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let mut above = TOP - APART;
    for (at, _) in &mut labels {
        *at = at.max(above + APART);
        above = *at;
    }
    // What was pushed out at the bottom moves up again.
    let mut below = HEIGHT - BOTTOM + APART;
    for (at, _) in labels.iter_mut().rev() {
        *at = at.min(below - APART);
        below = *at;
    }
    for (at, line) in labels {
        let _ = writeln!(
            svg,
            "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"{}\" stroke-width=\"2\" \
             stroke-dasharray=\"{}\"/><text x=\"{:.1}\" y=\"{:.1}\" fill=\"{}\">{}</text>",
            WIDTH - RIGHT + 4.0,
            WIDTH - RIGHT + 26.0,
            line.colour,
            line.dashes,
            WIDTH - RIGHT + 32.0,
            at + 4.0,
            line.colour,
            line.name
        );
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
