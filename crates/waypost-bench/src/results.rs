//! All that was measured, as flat samples.

use serde::Serialize;

use crate::system::System;

/// One value.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Sample {
    pub(crate) system: &'static str,
    /// What was done, such as `best_effort`.
    pub(crate) phase: &'static str,
    /// What was measured, with its unit, such as `messages_per_second`.
    pub(crate) metric: &'static str,
    /// Clients of each server; 0 where it does not matter.
    pub(crate) clients: usize,
    /// Body size in bytes; 0 where it does not matter.
    pub(crate) size: usize,
    pub(crate) round: usize,
    pub(crate) value: f64,
}

/// Median, minimum and maximum.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let half = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[half]
        } else {
            f64::midpoint(values[half - 1], values[half])
        };
        Some(Self { median, min, max })
    }
}

/// A run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Results {
    pub(crate) date: String,
    pub(crate) machine: String,
    pub(crate) quick: bool,
    pub(crate) rounds: usize,
    /// What was left out or went wrong.
    pub(crate) notes: Vec<String>,
    pub(crate) samples: Vec<Sample>,
}

/// Which values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Key {
    pub(crate) system: &'static str,
    pub(crate) phase: &'static str,
    pub(crate) metric: &'static str,
    pub(crate) clients: usize,
    pub(crate) size: usize,
}

impl Results {
    pub(crate) fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Values by round.
    pub(crate) fn values(&self, key: Key) -> Vec<(usize, f64)> {
        self.samples
            .iter()
            .filter(|s| {
                s.system == key.system
                    && s.phase == key.phase
                    && s.metric == key.metric
                    && s.clients == key.clients
                    && s.size == key.size
            })
            .map(|s| (s.round, s.value))
            .collect()
    }

    pub(crate) fn spread(&self, key: Key) -> Option<Spread> {
        Spread::of(self.values(key).into_iter().map(|(_, value)| value).collect())
    }

    /// One by the other, round by round: what changes from round to round on a busy machine changes both.
    pub(crate) fn ratio(&self, above: Key, below: Key) -> Option<Spread> {
        let below = self.values(below);
        let ratios = self
            .values(above)
            .into_iter()
            .filter_map(|(round, value)| {
                let (_, by) = below.iter().find(|(other, by)| *other == round && *by > 0.0)?;
                Some(value / by)
            })
            .collect();
        Spread::of(ratios)
    }

    /// The numbers of clients that a phase was measured with.
    pub(crate) fn clients(&self, phase: &str, metric: &str) -> Vec<usize> {
        self.distinct(phase, metric, |sample| sample.clients)
    }

    pub(crate) fn sizes(&self, phase: &str, metric: &str) -> Vec<usize> {
        self.distinct(phase, metric, |sample| sample.size)
    }

    fn distinct(&self, phase: &str, metric: &str, of: impl Fn(&Sample) -> usize) -> Vec<usize> {
        let mut all: Vec<usize> = self
            .samples
            .iter()
            .filter(|sample| sample.phase == phase && sample.metric == metric)
            .map(of)
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// The systems of this run, in the usual order.
    pub(crate) fn systems(&self) -> Vec<System> {
        System::ALL
            .into_iter()
            .filter(|system| self.samples.iter().any(|sample| sample.system == system.name()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let spread = Spread::of(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
        assert_eq!(
            spread,
            Spread {
                median: 2.5,
                min: 1.0,
                max: 4.0
            }
        );
        assert_eq!(Spread::of(Vec::new()), None);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let sample = |system, round, value| Sample {
            system,
            phase: "p",
            metric: "m",
            clients: 1,
            size: 1,
            round,
            value,
        };
        let results = Results {
            samples: vec![
                sample("a", 0, 10.0),
                sample("b", 0, 5.0),
                sample("a", 1, 100.0),
                sample("b", 1, 50.0),
                sample("a", 2, 7.0),
            ],
            ..Results::default()
        };
        let key = |system| Key {
            system,
            phase: "p",
            metric: "m",
            clients: 1,
            size: 1,
        };
        let ratio = results.ratio(key("a"), key("b")).unwrap();
        assert_eq!((ratio.min, ratio.max), (2.0, 2.0));
    }
}
