//! Charts as SVG text: grouped or stacked bars with whiskers, and lines over a logarithmic
//! axis. Small on purpose: a chart here is a picture of a table that stands beside it.

use std::fmt::Write;

use super::tables::{Tables, VOLUME_BINS_CM3};

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 740.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 340.0;
/// Okabe and Ito's colours: told apart by people who see colours differently.
const COLOURS: [&str; 7] =
    ["#D55E00", "#E69F00", "#CC79A7", "#0072B2", "#009E73", "#56B4E9", "#999999"];

/// File names of all charts.
pub const CHARTS: [&str; 5] =
    ["lesions_by_volume.svg", "malignant_lesions.svg", "patients.svg", "joint.svg", "sweep.svg"];

/// File name, one of [`CHARTS`], and SVG text of every chart the tables give rise to.
pub fn charts(tables: &Tables) -> Vec<(&'static str, String)> {
    let [by_volume, malignant_lesions, of_patients, of_joint, of_sweep] = CHARTS;
    let mut charts = vec![(by_volume, volumes(tables))];
    if !tables.lesions.is_empty() {
        charts.push((malignant_lesions, malignant(tables)));
        charts.push((of_patients, patients(tables)));
    }
    charts.extend(tables.joint.as_ref().map(|joint| {
        let series = ["decided, right", "decided, wrong", "uncertain"].iter().enumerate();
        let series = series.map(|(at, name)| Series {
            name: (*name).to_owned(),
            values: joint.by_truth.iter().map(|row| Value::of(row[at] as f64)).collect(),
        });
        let categories = joint.classes.map(str::to_owned).to_vec();
        let title = "Joint predictions by true class";
        (of_joint, Bars { title, unit: "patients", categories, series: series.collect() }.stacked())
    }));
    if !tables.sweep.is_empty() {
        charts.push((of_sweep, sweep(tables)));
    }
    charts
}

fn volumes(tables: &Tables) -> String {
    let bounds = VOLUME_BINS_CM3.windows(2).map(|pair| format!("{}-{}", pair[0], pair[1]));
    let categories = bounds.chain([format!(">{}", VOLUME_BINS_CM3[6])]).collect();
    let series = tables.lesions_by_volume.rows[..6].iter().map(|row| Series {
        name: row.row.to_owned(),
        values: row.lesions.iter().map(|count| Value::of(*count as f64)).collect(),
    });
    let title = "True lesions by volume in cm3";
    Bars { title, unit: "lesions", categories, series: series.collect() }.stacked()
}

fn malignant(tables: &Tables) -> String {
    let malignant = || tables.lesions.iter().filter_map(|table| table.rows.last());
    let series = vec![
        Series::rates("precision, paper", malignant().map(|row| row.paper.rates.precision)),
        Series::rates("precision, full", malignant().map(|row| row.paper.rates.precision_full)),
        Series::rates("recall", malignant().map(|row| row.paper.rates.recall)),
        Series::rates("recall, rough", malignant().map(|row| row.paper.rates.recall_rough)),
    ];
    let categories = tables.lesions.iter().map(|table| broken(table.variant)).collect();
    Bars { title: "Malignant lesions", unit: "per cent", categories, series }.grouped(100.0)
}

fn patients(tables: &Tables) -> String {
    let series = vec![
        Series::rates("sensitivity", tables.patients.iter().map(|row| row.sensitivity)),
        Series::rates("specificity", tables.patients.iter().map(|row| row.specificity)),
    ];
    let categories = tables.patients.iter().map(|row| broken(&row.row)).collect();
    Bars { title: "Patients, malignant or not", unit: "per cent", categories, series }
        .grouped(100.0)
}

/// A long name in lines short enough to stand beside its neighbours.
fn broken(name: &str) -> String {
    let breaks =
        [(" (", "\n("), ("+", "\n+"), ("-no", "\n-no"), (" as ", "\nas "), (" or ", "\nor ")];
    breaks.into_iter().fold(name.to_owned(), |name, (at, line)| name.replace(at, line))
}

fn sweep(tables: &Tables) -> String {
    let line = |name: &str, of: fn(&super::sweep::SweepPoint) -> usize| Line {
        name: name.to_owned(),
        points: tables.sweep.iter().map(|point| (point.gain, of(point) as f64)).collect(),
    };
    let lines = [
        line("FN", |point| point.fn_),
        line("FN, malignant", |point| point.malignant_fn),
        line("FP", |point| point.fp),
        line("FP, malignant", |point| point.malignant_fp),
    ];
    logarithmic_lines("Missed and false lesions against the lesion gain", "lesions", &lines)
}

/// A bar, with the ends of its whisker.
#[derive(Clone, Copy)]
struct Value {
    value: Option<f64>,
    whisker: Option<[f64; 2]>,
}

impl Value {
    fn of(value: f64) -> Value {
        Value { value: Some(value), whisker: None }
    }
}

struct Series {
    name: String,
    values: Vec<Value>,
}

impl Series {
    fn rates(name: &str, rates: impl Iterator<Item = super::rates::Rate>) -> Series {
        let values = rates.map(|rate| Value {
            value: rate.value.map(|value| 100.0 * value),
            whisker: rate.low.zip(rate.high).map(|(low, high)| [100.0 * low, 100.0 * high]),
        });
        Series { name: name.to_owned(), values: values.collect() }
    }
}

struct Bars {
    title: &'static str,
    unit: &'static str,
    categories: Vec<String>,
    series: Vec<Series>,
}

impl Bars {
    fn stacked(&self) -> String {
        let sum = |at: usize| self.series.iter().filter_map(|s| s.values[at].value).sum::<f64>();
        let most = (0..self.categories.len()).map(sum).fold(0.0, f64::max);
        let mut canvas = Canvas::new(self.title, self.unit, most);
        let slot = self.slot();
        for at in 0..self.categories.len() {
            let mut from = 0.0;
            for (series, colour) in std::iter::zip(&self.series, COLOURS) {
                let height = series.values[at].value.unwrap_or(0.0);
                let left = LEFT + slot * (at as f64 + 0.15);
                canvas.bar(left, slot * 0.7, [from, from + height], colour);
                from += height;
            }
        }
        self.finish(canvas)
    }

    fn grouped(&self, most: f64) -> String {
        let mut canvas = Canvas::new(self.title, self.unit, most);
        let slot = self.slot();
        let width = slot * 0.8 / self.series.len().max(1) as f64;
        for (place, (series, colour)) in std::iter::zip(&self.series, COLOURS).enumerate() {
            for (at, value) in series.values.iter().enumerate() {
                let left = LEFT + slot * (at as f64 + 0.1) + width * place as f64;
                canvas.bar(left, width, [0.0, value.value.unwrap_or(0.0)], colour);
                if let Some(whisker) = value.whisker {
                    canvas.whisker(left + width / 2.0, whisker);
                }
            }
        }
        self.finish(canvas)
    }

    fn slot(&self) -> f64 {
        (RIGHT - LEFT) / self.categories.len().max(1) as f64
    }

    fn finish(&self, mut canvas: Canvas) -> String {
        for (at, category) in self.categories.iter().enumerate() {
            let middle = LEFT + self.slot() * (at as f64 + 0.5);
            for (line, text) in category.split('\n').enumerate() {
                canvas.text(middle, BOTTOM + 18.0 + 13.0 * line as f64, "middle", text);
            }
        }
        canvas.legend(self.series.iter().map(|series| series.name.as_str()));
        canvas.finish()
    }
}

struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

fn logarithmic_lines(title: &str, unit: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    let most = points().map(|(_, y)| *y).fold(0.0, f64::max);
    let (low, high) = points()
        .map(|(x, _)| x.log10())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    let span = (high - low).max(f64::MIN_POSITIVE);
    let across = |x: f64| LEFT + 15.0 + (RIGHT - LEFT - 30.0) * (x.log10() - low) / span;
    let mut canvas = Canvas::new(title, unit, most);
    for (line, colour) in std::iter::zip(lines, COLOURS) {
        let path: Vec<String> = line
            .points
            .iter()
            .map(|(x, y)| format!("{:.1},{:.1}", across(*x), canvas.down(*y)))
            .collect();
        canvas.line(&path.join(" "), colour);
    }
    for (x, _) in lines.first().map_or(&[][..], |line| &line.points) {
        canvas.text(across(*x), BOTTOM + 18.0, "middle", &x.to_string());
    }
    canvas.legend(lines.iter().map(|line| line.name.as_str()));
    canvas.finish()
}

/// An SVG being written, with a vertical axis from 0 to a round number.
struct Canvas {
    svg: String,
    top: f64,
}

impl Canvas {
    fn new(title: &str, unit: &str, most: f64) -> Canvas {
        let step = round_step(most.max(1.0) / 5.0);
        let top = (most.max(1.0) / step).ceil() * step;
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"white\"/>\n"
        );
        let mut canvas = Canvas { svg, top };
        canvas.text(LEFT, 20.0, "start", title);
        canvas.text(LEFT, TOP - 8.0, "end", unit);
        for tick in 0..=(top / step).round() as usize {
            let value = step * tick as f64;
            let y = canvas.down(value);
            canvas.shape(&format!(
                "<path d=\"M{LEFT} {y:.1}H{RIGHT}\" stroke=\"#ddd\" fill=\"none\"/>"
            ));
            canvas.text(LEFT - 6.0, y + 4.0, "end", &value.to_string());
        }
        canvas
    }

    fn down(&self, value: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * value / self.top
    }

    fn bar(&mut self, left: f64, width: f64, [from, to]: [f64; 2], colour: &str) {
        let (y, height) = (self.down(to), self.down(from) - self.down(to));
        self.shape(&format!(
            "<rect x=\"{left:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             fill=\"{colour}\"/>"
        ));
    }

    fn whisker(&mut self, x: f64, [low, high]: [f64; 2]) {
        let (low, high) = (self.down(low), self.down(high));
        self.shape(&format!(
            "<path d=\"M{x:.1} {low:.1}V{high:.1}\" stroke=\"black\" stroke-width=\"1.5\"/>"
        ));
    }

    fn line(&mut self, points: &str, colour: &str) {
        self.shape(&format!(
            "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>"
        ));
    }

    fn legend<'a>(&mut self, names: impl Iterator<Item = &'a str>) {
        let mut left = LEFT;
        for (name, colour) in names.zip(COLOURS) {
            self.shape(&format!(
                "<rect x=\"{left:.1}\" y=\"{}\" width=\"10\" height=\"10\" fill=\"{colour}\"/>",
                HEIGHT - 20.0
            ));
            self.text(left + 14.0, HEIGHT - 11.0, "start", name);
            left += 30.0 + 7.0 * name.len() as f64;
        }
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        self.shape(&format!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    fn shape(&mut self, element: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.svg, "{element}");
    }

    fn finish(mut self) -> String {
        self.svg.push_str("</svg>\n");
        self.svg
    }
}

/// The smallest of 1, 2, 5, 10, 20, .. that is not below `least` >= 0.
fn round_step(least: f64) -> f64 {
    let decade = 10f64.powf(least.max(1.0).log10().floor());
    [1.0, 2.0, 5.0].map(|n| n * decade).into_iter().find(|s| *s >= least).unwrap_or(10.0 * decade)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!(
            [0.2, 1.0, 1.1, 4.0, 20.0, 51.0].map(round_step),
            [1.0, 1.0, 2.0, 5.0, 20.0, 100.0]
        );
    }

    #[test]
    fn bars_stand_on_the_axis_and_names_are_escaped() {
        let bars = Bars {
            title: "a < b",
            unit: "lesions",
            categories: vec![">64".to_owned()],
            series: vec![Series { name: "x & y".to_owned(), values: vec![Value::of(10.0)] }],
        };
        let svg = bars.stacked();
        assert!(svg.contains("a &lt; b") && svg.contains("&gt;64") && svg.contains("x &amp; y"));
        // Ten of ten: from the top of the axis to the bottom.
        assert!(svg.contains("y=\"60.0\" width=\"476.0\" height=\"280.0\""), "{svg}");
        assert_eq!(svg.matches("<svg").count(), svg.matches("</svg>").count());
    }
}
