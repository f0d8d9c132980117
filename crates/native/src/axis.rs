//! One axis of a convolution or a transposed one: which inputs make which output.
//!
//! A transposed convolution is, for each remainder of the output by its stride, a plain
//! convolution with some of the kernel's taps. Both are so one thing: phases.

/// How outputs along one axis read inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Axis {
    /// Input steps from one output of a phase to the next.
    pub(crate) stride: usize,
    /// Output `o` belongs to phase `o % phases.len()` and is its number `o / phases.len()`.
    pub(crate) phases: Vec<Phase>,
}

/// One remainder of the outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Phase {
    /// The first input of output number 0; before the volume if negative.
    pub(crate) base: isize,
    /// Which taps of the kernel multiply the inputs from there on.
    pub(crate) taps: Vec<usize>,
}

impl Axis {
    pub(crate) fn convolution(kernel: usize, stride: usize, before: usize) -> Axis {
        let phase = Phase { base: -before.cast_signed(), taps: (0..kernel).collect() };
        Axis { stride, phases: vec![phase] }
    }

    /// `output + before = stride * input + tap`
    pub(crate) fn transposed(kernel: usize, stride: usize, before: usize) -> Axis {
        let phase = |output: usize| {
            let (rest, last) = ((output + before) % stride, (output + before) / stride);
            let taps: Vec<usize> = (rest..kernel).step_by(stride).collect();
            let base = last.cast_signed() - (taps.len().max(1) - 1).cast_signed();
            Phase { base, taps: taps.into_iter().rev().collect() }
        };
        Axis { stride: 1, phases: (0..stride).map(phase).collect() }
    }

    pub(crate) fn phase(&self, output: usize) -> &Phase {
        &self.phases[output % self.phases.len()]
    }

    /// The first input that `output` reads.
    pub(crate) fn first(&self, output: usize) -> isize {
        let number = output / self.phases.len() * self.stride;
        self.phase(output).base + number.cast_signed()
    }

    /// First and one past the last input that some outputs read.
    pub(crate) fn span(&self, outputs: std::ops::Range<usize>) -> (isize, isize) {
        let ends = outputs.map(|output| {
            let first = self.first(output);
            (first, first + self.phase(output).taps.len().cast_signed())
        });
        ends.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or_default()
    }

    /// Most taps of a phase.
    pub(crate) fn most_taps(&self) -> usize {
        self.phases.iter().map(|phase| phase.taps.len()).max().unwrap_or_default()
    }

    /// Those taps of `output` whose inputs lie within `0..size`.
    pub(crate) fn within(&self, output: usize, size: usize) -> std::ops::Range<usize> {
        let (first, taps) = (self.first(output), self.phase(output).taps.len());
        let start = usize::try_from(-first).unwrap_or_default().min(taps);
        let end = usize::try_from(size.cast_signed() - first).unwrap_or_default().min(taps);
        start..end.max(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every (output, input, tap) of an axis, by its phases.
    fn triples(axis: &Axis, outputs: usize, inputs: usize) -> Vec<(usize, usize, usize)> {
        let mut found = Vec::new();
        for output in 0..outputs {
            for (d, &tap) in axis.phase(output).taps.iter().enumerate() {
                if let Ok(input) = usize::try_from(axis.first(output) + d.cast_signed())
                    && input < inputs
                {
                    assert!(axis.within(output, inputs).contains(&d));
                    found.push((output, input, tap));
                } else {
                    assert!(!axis.within(output, inputs).contains(&d));
                }
            }
        }
        found.sort_unstable();
        found
    }

    #[test]
    fn phases_are_the_definitions() {
        for (kernel, stride, before, inputs) in [
            (3_usize, 1_usize, 1_usize, 7_usize),
            (3, 2, 1, 8),
            (1, 1, 0, 4),
            (2, 2, 0, 5),
            (4, 2, 1, 6),
            (1, 3, 0, 9),
        ] {
            let outputs = (inputs + 2 * before - kernel) / stride + 1;
            let mut expected = Vec::new();
            for output in 0..outputs {
                for tap in 0..kernel {
                    let input = (output * stride + tap).wrapping_sub(before);
                    if input < inputs {
                        expected.push((output, input, tap));
                    }
                }
            }
            assert_eq!(
                triples(&Axis::convolution(kernel, stride, before), outputs, inputs),
                expected
            );

            let outputs = (inputs - 1) * stride + kernel - 2 * before;
            let mut expected = Vec::new();
            for input in 0..inputs {
                for tap in 0..kernel {
                    let output = (input * stride + tap).wrapping_sub(before);
                    if output < outputs {
                        expected.push((output, input, tap));
                    }
                }
            }
            expected.sort_unstable();
            assert_eq!(
                triples(&Axis::transposed(kernel, stride, before), outputs, inputs),
                expected
            );
        }
    }
}
