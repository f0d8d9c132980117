//! Names become values: every node is looked up, checked and given its shape.

use std::collections::HashMap;

use super::known::Known;
use super::operators::Call;
use super::{Graph, Node, Shape, Value, Work};
use crate::error::LoadError;
use crate::model::{self, Described, Model};

/// At most so many weights are kept.
pub(super) fn build(model: &Model<'_>, weights: usize) -> Result<Graph, LoadError> {
    let ([input], [output]) = (&model.inputs[..], &model.outputs[..]) else {
        let (inputs, outputs) = (model.inputs.len(), model.outputs.len());
        let reason = format!("{inputs} inputs and {outputs} outputs, expected one each");
        return Err(LoadError::graph(reason));
    };
    let image = described(input)?;
    let mut names: HashMap<&str, Known<'_>> = HashMap::new();
    names.extend(model.constants.iter().map(|(&name, tensor)| (name, Known::Constant(tensor))));
    names.insert(input.name, Known::Value(Value::Image));
    let mut graph = Graph { weights_left: weights, ..Graph::of_image(image) };
    for node in &model.nodes {
        let known = step(&mut graph, node, &names)?;
        let [output] = node.outputs[..] else {
            let reason = format!("{} outputs, expected one", node.outputs.len());
            return Err(LoadError::node(name_of(node), reason));
        };
        if names.insert(output, known).is_some() {
            return Err(LoadError::node(name_of(node), format!("`{output}` is there twice")));
        }
    }
    let Some(Known::Value(found)) = names.get(output.name) else {
        return Err(LoadError::graph(format!("nothing makes the output `{}`", output.name)));
    };
    graph.output = *found;
    let made = graph.shape(*found);
    if described(output)? != made {
        let promised = &output.shape;
        return Err(LoadError::graph(format!(
            "its output is {made:?}, the file says {promised:?}"
        )));
    }
    Ok(graph)
}

fn step<'a>(
    graph: &mut Graph,
    node: &'a model::Node<'a>,
    names: &HashMap<&'a str, Known<'a>>,
) -> Result<Known<'a>, LoadError> {
    let refuse = |reason: String| LoadError::node(name_of(node), reason);
    if !matches!(node.domain, "" | "ai.onnx") {
        return Err(refuse(format!("operator {} of `{}`", node.operator, node.domain)));
    }
    if node.operator == "Constant" {
        let tensor = node.attributes.get("value").and_then(|found| found.tensor.as_ref());
        return tensor.map(Known::Constant).ok_or_else(|| refuse("no value".to_owned()));
    }
    let mut inputs = Vec::new();
    for &name in &node.inputs {
        let known = match name {
            "" => None,
            _ => Some(*names.get(name).ok_or_else(|| refuse(format!("nothing makes `{name}`")))?),
        };
        inputs.push(known);
    }
    let call = Call { node, inputs };
    let made = call.read(graph).map_err(refuse)?;
    let Some((work, inputs, shape)) = made else {
        return call.value(graph, 0).map(Known::Value).map_err(refuse);
    };
    if matches!(&work, Work::Slices(planes) if planes.is_empty()) {
        return Ok(Known::Empty);
    }
    graph.count(work.weights()).map_err(refuse)?;
    if shape.numbers().is_none() {
        return Err(refuse(format!("it makes {shape:?}, which is too large or empty")));
    }
    graph.nodes.push(Node { name: name_of(node).to_owned(), work, inputs, shape });
    Ok(Known::Value(Value::Node(graph.nodes.len() - 1)))
}

/// A node's own name, or its output's: exporters leave names out.
fn name_of<'a>(node: &model::Node<'a>) -> &'a str {
    match (node.name, node.outputs.first()) {
        ("", Some(output)) => output,
        (name, _) => name,
    }
}

fn described(found: &Described<'_>) -> Result<Shape, LoadError> {
    let name = found.name;
    if !found.is_f32 {
        return Err(LoadError::graph(format!("`{name}` is not f32")));
    }
    let sizes: Option<Vec<usize>> = found.shape.iter().copied().collect();
    let Some(sizes) = sizes else {
        let shape = &found.shape;
        return Err(LoadError::graph(format!("`{name}` has axes without a size: {shape:?}")));
    };
    let [1, channels, z, y, x] = sizes[..] else {
        return Err(LoadError::graph(format!("`{name}` is {sizes:?}, expected [1, c, z, y, x]")));
    };
    let shape = Shape { channels, size: [z, y, x] };
    match shape.numbers() {
        Some(_) => Ok(shape),
        None => Err(LoadError::graph(format!("`{name}` is too large or empty: {sizes:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::written::Layer;

    /// One tensor may be read by any number of nodes, and is kept for each: the file bounds nothing.
    #[test]
    fn weights_are_bounded_by_how_often_they_are_read() {
        let (size, kernel, stride) = ([2, 3, 4], [1, 3, 3], [1; 3]);
        let file = Layer { inputs: 2, outputs: 3, size, kernel, stride, transposed: false }.file();
        let model = model::read(&file).unwrap();
        let weights = 2 * 3 * 9 + 3;
        assert_eq!(build(&model, weights).unwrap().weights_left, 0);
        let said = build(&model, weights - 1).unwrap_err().to_string();
        assert!(said.starts_with("node `made`: with it more than"), "{said}");
    }
}
