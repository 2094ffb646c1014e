//! Line charts as inline SVG: axes, grid, lines, legend. No scripts, no external parts.

use std::fmt::Write as _;

/// How an axis is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// Equal steps.
    Linear,
    /// Powers of ten.
    Log,
    /// Quantiles: equal steps for 90 %, 99 %, 99.9 %, ...; values are 1 / (1 - q).
    Percentile,
}

/// A line of a chart.
#[derive(Debug, Clone)]
pub struct Line {
    /// For the legend.
    pub name: String,
    /// Points, ascending in x.
    pub points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Debug, Clone)]
pub struct Chart {
    /// Above it.
    pub title: String,
    /// Below the x axis.
    pub x_label: String,
    /// Beside the y axis.
    pub y_label: String,
    /// Division of x.
    pub x_scale: Scale,
    /// Division of y.
    pub y_scale: Scale,
    /// What it shows.
    pub lines: Vec<Line>,
}

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 64.0;
/// Told apart by people who see few colours.
const COLOURS: [&str; 6] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"];

/// Text that is safe between tags.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

struct Axis {
    scale: Scale,
    low: f64,
    high: f64,
}

impl Axis {
    fn new(scale: Scale, values: impl Iterator<Item = f64>) -> Axis {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for v in values.filter(|v| v.is_finite() && (scale == Scale::Linear || *v > 0.0)) {
            low = low.min(v);
            high = high.max(v);
        }
        if low > high {
            (low, high) = (1.0, 10.0);
        }
        match scale {
            Scale::Linear => {
                low = low.min(0.0);
                if high <= low {
                    high = low + 1.0;
                }
            }
            Scale::Log => {
                low = 10f64.powf(low.log10().floor());
                high = 10f64.powf(high.log10().ceil()).max(low * 10.0);
            }
            Scale::Percentile => {
                low = 1.0;
                high = high.max(100.0);
            }
        }
        Axis { scale, low, high }
    }

    /// Where a value lies, 0 to 1.
    fn at(&self, v: f64) -> f64 {
        match self.scale {
            Scale::Linear => (v - self.low) / (self.high - self.low),
            Scale::Log | Scale::Percentile => {
                (v.max(self.low) / self.low).log10() / (self.high / self.low).log10()
            }
        }
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        match self.scale {
            Scale::Linear => {
                let step = nice((self.high - self.low) / 6.0);
                let count = ((self.high - self.low) / step).floor() as usize;
                (0..=count)
                    .map(|i| self.low + i as f64 * step)
                    .map(|v| (v, number(v)))
                    .collect()
            }
            Scale::Log => {
                let decades = (self.high / self.low).log10().round() as i32;
                (0..=decades)
                    .map(|i| self.low * 10f64.powi(i))
                    .map(|v| (v, number(v)))
                    .collect()
            }
            Scale::Percentile => {
                let decades = self.high.log10().floor() as i32;
                let mut ticks = vec![(1.0, "0 %".to_owned()), (2.0, "50 %".to_owned())];
                for i in 1..=decades {
                    let digits = (i as usize).saturating_sub(2);
                    let percent = 100.0 * (1.0 - 10f64.powi(-i));
                    ticks.push((10f64.powi(i), format!("{percent:.digits$} %")));
                }
                ticks
            }
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least `v`.
fn nice(v: f64) -> f64 {
    let power = 10f64.powf(v.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .iter()
        .map(|m| m * power)
        .find(|s| *s >= v)
        .unwrap_or(10.0 * power)
}

fn number(v: f64) -> String {
    let (scaled, suffix) = match v.abs() {
        a if a >= 1e9 => (v / 1e9, "G"),
        a if a >= 1e6 => (v / 1e6, "M"),
        a if a >= 1e4 => (v / 1e3, "k"),
        _ => (v, ""),
    };
    let text = format!("{scaled:.3}");
    format!("{}{suffix}", text.trim_end_matches('0').trim_end_matches('.'))
}

impl Chart {
    /// The chart as an `<svg>` element.
    pub fn svg(&self) -> String {
        let x = Axis::new(
            self.x_scale,
            self.lines.iter().flat_map(|l| l.points.iter().map(|p| p.0)),
        );
        let y = Axis::new(
            self.y_scale,
            self.lines.iter().flat_map(|l| l.points.iter().map(|p| p.1)),
        );
        let (w, h) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
        let px = |v: f64| LEFT + x.at(v) * w;
        let py = |v: f64| TOP + (1.0 - y.at(v)) * h;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{}\" font-family=\"sans-serif\" font-size=\"12\" fill=\"currentColor\">",
            escape(&self.title)
        );
        let _ = write!(
            out,
            "<text x=\"{LEFT}\" y=\"18\" font-size=\"15\">{}</text>",
            escape(&self.title)
        );
        for (v, label) in x.ticks() {
            let at = px(v);
            let _ = write!(
                out,
                "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\" stroke=\"#8884\"/><text x=\"{at:.1}\" \
                 y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                TOP + h,
                TOP + h + 16.0
            );
        }
        for (v, label) in y.ticks() {
            let at = py(v);
            let _ = write!(
                out,
                "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#8884\"/><text x=\"{:.1}\" \
                 y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                LEFT + w,
                LEFT - 6.0,
                at + 4.0
            );
        }
        let _ = write!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text><text transform=\"translate(14 {:.1}) rotate(-90)\" \
             text-anchor=\"middle\">{}</text>",
            LEFT + w / 2.0,
            TOP + h + 34.0,
            escape(&self.x_label),
            TOP + h / 2.0,
            escape(&self.y_label)
        );
        let share = w / self.lines.len().max(1) as f64;
        for (i, line) in self.lines.iter().enumerate() {
            let colour = COLOURS[i % COLOURS.len()];
            let points: Vec<String> = line
                .points
                .iter()
                .filter(|p| {
                    p.0.is_finite() && p.1.is_finite() && (self.y_scale == Scale::Linear || p.1 > 0.0)
                })
                .map(|p| format!("{:.1},{:.1}", px(p.0), py(p.1)))
                .collect();
            let _ = write!(
                out,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\" points=\"{}\"/>",
                points.join(" ")
            );
            let at = LEFT + i as f64 * share;
            let _ = write!(
                out,
                "<rect x=\"{at:.1}\" y=\"{:.1}\" width=\"12\" height=\"4\" fill=\"{colour}\"/><text x=\"{:.1}\" \
                 y=\"{:.1}\">{}</text>",
                HEIGHT - 14.0,
                at + 16.0,
                HEIGHT - 8.0,
                escape(&line.name)
            );
        }
        out.push_str("</svg>");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_lie_where_their_axes_say() {
        let chart = Chart {
            title: "a < b".into(),
            x_label: "x".into(),
            y_label: "y".into(),
            x_scale: Scale::Percentile,
            y_scale: Scale::Log,
            lines: vec![Line {
                name: "one".into(),
                points: vec![(1.0, 1.0), (10.0, 10.0), (100.0, 100.0)],
            }],
        };
        let svg = chart.svg();
        assert!(svg.contains("a &lt; b") && !svg.contains("a < b"));
        // Two decades on each axis: the middle point lies in the middle.
        assert!(
            svg.contains("points=\"70.0,256.0 455.0,145.0 840.0,34.0\""),
            "{svg}"
        );
        for tick in ["50 %", "90 %", "99 %"] {
            assert!(svg.contains(tick), "{tick}");
        }
    }

    #[test]
    fn an_empty_chart_is_still_a_chart() {
        let chart = Chart {
            title: "nothing".into(),
            x_label: String::new(),
            y_label: String::new(),
            x_scale: Scale::Linear,
            y_scale: Scale::Log,
            lines: vec![],
        };
        assert!(chart.svg().ends_with("</svg>"));
        assert_eq!(
            (number(1500.0), number(20_000.0), number(0.25)),
            ("1500".into(), "20k".into(), "0.25".into())
        );
        assert_eq!(nice(0.3), 0.5);
    }
}
