//! ONNX files written by hand, for tests and benches.

#![allow(dead_code, reason = "not every user needs all of it")]

/// A message under construction.
#[derive(Default, Clone)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    fn key(&mut self, field: u64, kind: u64) {
        self.integer_alone(field << 3 | kind);
    }

    fn integer_alone(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    pub(crate) fn integer(mut self, field: u64, value: i64) -> Message {
        self.key(field, 0);
        self.integer_alone(value.cast_unsigned());
        self
    }

    pub(crate) fn float(mut self, field: u64, value: f32) -> Message {
        self.key(field, 5);
        self.0.extend(value.to_le_bytes());
        self
    }

    pub(crate) fn bytes(mut self, field: u64, bytes: &[u8]) -> Message {
        self.key(field, 2);
        self.integer_alone(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    pub(crate) fn text(self, field: u64, text: &str) -> Message {
        self.bytes(field, text.as_bytes())
    }

    pub(crate) fn inner(self, field: u64, inner: &Message) -> Message {
        self.bytes(field, &inner.0)
    }
}

/// A constant of the file.
pub(crate) fn constant(name: &str, shape: &[usize], values: &[f32]) -> Message {
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let dims = Message::default();
    let dims = shape.iter().fold(dims, |made, &size| made.integer(1, size as i64));
    dims.integer(2, 1).text(8, name).bytes(9, &raw)
}

/// A node without attributes, named like its output.
pub(crate) fn node(operator: &str, inputs: &[&str], output: &str) -> Message {
    let made = inputs.iter().fold(Message::default(), |made, name| made.text(1, name));
    made.text(2, output).text(3, output).text(4, operator)
}

/// An attribute of integers.
pub(crate) fn integers(name: &str, values: &[i64]) -> Message {
    let named = Message::default().text(1, name);
    values.iter().fold(named, |made, &value| made.integer(8, value)).integer(20, 7)
}

/// An attribute of one integer.
pub(crate) fn integer(name: &str, value: i64) -> Message {
    Message::default().text(1, name).integer(3, value).integer(20, 2)
}

/// An input or output of f32; a size of 0 is left open.
pub(crate) fn described(name: &str, shape: &[usize]) -> Message {
    let axes = shape.iter().fold(Message::default(), |made, &size| {
        made.inner(
            1,
            &match size {
                0 => Message::default().text(2, "n"),
                size => Message::default().integer(1, size as i64),
            },
        )
    });
    let tensor = Message::default().integer(1, 1).inner(2, &axes);
    Message::default().text(1, name).inner(2, &Message::default().inner(1, &tensor))
}

/// A file of one graph.
pub(crate) fn file(
    nodes: &[Message],
    constants: &[Message],
    input: &Message,
    output: &Message,
) -> Vec<u8> {
    let graph = nodes.iter().fold(Message::default(), |made, node| made.inner(1, node));
    let graph = constants.iter().fold(graph, |made, constant| made.inner(5, constant));
    let graph = graph.inner(11, input).inner(12, output);
    Message::default().integer(1, 8).inner(7, &graph).0
}

/// One convolution `[inputs, z, y, x]` to `outputs` channels, padded so that nothing is lost.
pub(crate) struct Layer {
    pub inputs: usize,
    pub outputs: usize,
    pub size: [usize; 3],
    pub kernel: [usize; 3],
    pub stride: [usize; 3],
    /// Kernel and stride are one, and it is transposed.
    pub transposed: bool,
}

impl Layer {
    pub(crate) fn out_size(&self) -> [usize; 3] {
        std::array::from_fn(|axis| match self.transposed {
            true => self.size[axis] * self.stride[axis],
            false => self.size[axis].div_ceil(self.stride[axis]),
        })
    }

    /// Products and sums of it.
    pub(crate) fn operations(&self) -> usize {
        let taps = self.kernel.iter().product::<usize>();
        let voxels = if self.transposed { self.size } else { self.out_size() };
        2 * taps * self.inputs * self.outputs * voxels.iter().product::<usize>()
    }

    /// The layer alone, after a leak, so that its input lies as it does within a network.
    pub(crate) fn file(&self) -> Vec<u8> {
        let shape = |channels: usize, size: [usize; 3]| [1, channels, size[0], size[1], size[2]];
        let (first, second) = match self.transposed {
            true => (self.inputs, self.outputs),
            false => (self.outputs, self.inputs),
        };
        let [z, y, x] = self.kernel;
        let count = first * second * z * y * x;
        let values: Vec<f32> = (0..count).map(|at| (at % 17) as f32 * 0.01 - 0.08).collect();
        let pads = match self.transposed {
            true => [0; 6],
            false => [z, y, x, z, y, x].map(|size| (size / 2) as i64),
        };
        let operator = if self.transposed { "ConvTranspose" } else { "Conv" };
        let convolution = node(operator, &["leaked", "weights"], "made")
            .inner(5, &integers("pads", &pads))
            .inner(5, &integers("strides", &self.stride.map(|stride| stride as i64)));
        file(
            &[node("LeakyRelu", &["patch"], "leaked"), convolution],
            &[constant("weights", &[first, second, z, y, x], &values)],
            &described("patch", &shape(self.inputs, self.size)),
            &described("made", &shape(self.outputs, self.out_size())),
        )
    }
}
