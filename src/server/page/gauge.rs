//! A strip that shows how many targets are how well: what the eye takes in before it reads.

use super::view;
use crate::model::TargetState;

/// From the worst on, so that what is bad always stands at the same end.
const TONES: [&str; 5] = ["bad", "waits", "busy", "off", "good"];
/// How wide a share of a thousand is at least: one target among a thousand is to be seen.
const LEAST: usize = 8;

/// The strip, in units of its own.
#[derive(Debug, Hash)]
pub(super) struct Gauge {
    pub(super) width: usize,
    pub(super) shares: Vec<Share>,
}

/// The targets of one tone.
#[derive(Debug, Hash)]
pub(super) struct Share {
    pub(super) tone: &'static str,
    pub(super) at: usize,
    pub(super) width: usize,
}

impl Gauge {
    pub(super) fn of<'t>(targets: impl IntoIterator<Item = &'t TargetState>) -> Self {
        let tones: Vec<&str> = targets.into_iter().map(view::tone_of).collect();
        let mut gauge = Self { width: 0, shares: Vec::new() };
        for tone in TONES {
            let count = tones.iter().filter(|of| **of == tone).count();
            if count > 0 {
                let width = (count * 1000 / tones.len()).max(LEAST);
                gauge.shares.push(Share { tone, at: gauge.width, width });
                gauge.width += width;
            }
        }
        gauge
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_makes_an_empty_strip() {
        let gauge = Gauge::of([]);
        assert!(gauge.width == 0 && gauge.shares.is_empty());
    }
}
