// Runs a graph on the CPU, plainly: the stand-in's arithmetic. In f32 it is the definition; of a
// node marked `half` inputs, weights and results are rounded to f16, and an instance
// normalisation so marked also sums in f16, to be as wrong as a GPU would be.
#pragma once

#include "onnx.hpp"

#include <cmath>

namespace compute {

using onnx::Node;
using onnx::Values;

// To f16 and back; ties to even, too large becomes infinite.
inline float rounded(float value) {
    if (!std::isfinite(value) || value == 0) return value;
    int exponent;
    std::frexp(value, &exponent);
    float const unit = std::ldexp(1.0F, std::max(exponent - 11, -24));
    float const near = std::nearbyintf(value / unit) * unit;
    return std::fabs(near) > 65504.0F ? std::copysign(INFINITY, value) : near;
}

inline void round(std::vector<float>& numbers) {
    for (float& number : numbers) number = rounded(number);
}

inline size_t volume(std::vector<int64_t> const& shape, size_t from = 0) {
    size_t count = 1;
    for (size_t i = from; i < shape.size(); ++i) count *= static_cast<size_t>(shape[i]);
    return count;
}

inline void need(bool fits, Node const& node) {
    if (!fits) throw std::runtime_error(node.op + " of this kind is not in the stand-in");
}

// ONNX Conv, group 1, dilation 1, one patch.
inline Values conv(Node const& node, Values const& x, Values const& w, std::vector<float> const& bias) {
    auto const pads = node.list("pads", {0, 0, 0, 0, 0, 0});
    auto const strides = node.list("strides", {1, 1, 1});
    need(node.list("dilations", {1, 1, 1}) == std::vector<int64_t>{1, 1, 1}, node);
    need(node.list("group", {1}) == std::vector<int64_t>{1} && w.shape.size() == 5, node);
    Values y{{1, w.shape[0], 0, 0, 0}, {}};
    for (int i = 0; i < 3; ++i) {
        y.shape[2 + i] = (x.shape[2 + i] + pads[i] + pads[3 + i] - w.shape[2 + i]) / strides[i] + 1;
    }
    y.numbers.resize(volume(y.shape));
    size_t const in = volume(x.shape, 2), out = volume(y.shape, 2), taps = volume(w.shape, 2);
    int64_t const wide = y.shape[4];
    for (int64_t o = 0; o < w.shape[0]; ++o) {
        float* to = y.numbers.data() + o * out;
        std::fill(to, to + out, bias.empty() ? 0.0F : bias[o]);
        for (int64_t i = 0; i < w.shape[1]; ++i) {
            float const* from = x.numbers.data() + i * in;
            for (size_t tap = 0; tap < taps; ++tap) {
                float const weight = w.numbers[(o * w.shape[1] + i) * taps + tap];
                int64_t const kx = tap % w.shape[4], ky = tap / w.shape[4] % w.shape[3];
                int64_t const kz = tap / w.shape[4] / w.shape[3];
                for (int64_t row = 0; row < y.shape[2] * y.shape[3]; ++row) {
                    int64_t const z = row / y.shape[3] * strides[0] + kz - pads[0];
                    int64_t const v = row % y.shape[3] * strides[1] + ky - pads[1];
                    if (z < 0 || z >= x.shape[2] || v < 0 || v >= x.shape[3]) continue;
                    float const* line = from + (z * x.shape[3] + v) * x.shape[4];
                    float* sums = to + row * wide;
                    int64_t const shift = kx - pads[2];
                    for (int64_t u = 0; u < wide; ++u) {
                        int64_t const at = u * strides[2] + shift;
                        if (at >= 0 && at < x.shape[4]) sums[u] += weight * line[at];
                    }
                }
            }
        }
    }
    return y;
}

// ONNX ConvTranspose whose kernel is its stride: every output voxel has one source.
inline Values transposed(Node const& node, Values const& x, Values const& w, std::vector<float> const& bias) {
    auto const strides = node.list("strides", {1, 1, 1});
    need(w.shape.size() == 5 && std::vector<int64_t>(w.shape.begin() + 2, w.shape.end()) == strides, node);
    need(node.list("pads", {0, 0, 0, 0, 0, 0}) == std::vector<int64_t>(6, 0), node);
    need(node.list("group", {1}) == std::vector<int64_t>{1}, node);
    Values y{{1, w.shape[1], x.shape[2] * strides[0], x.shape[3] * strides[1], x.shape[4] * strides[2]}, {}};
    y.numbers.resize(volume(y.shape));
    size_t const in = volume(x.shape, 2), out = volume(y.shape, 2), taps = volume(w.shape, 2);
    for (int64_t o = 0; o < w.shape[1]; ++o) {
        for (size_t at = 0; at < out; ++at) {
            int64_t const u = at % y.shape[4], v = at / y.shape[4] % y.shape[3];
            int64_t const z = at / y.shape[4] / y.shape[3];
            size_t const source = ((z / strides[0]) * x.shape[3] + v / strides[1]) * x.shape[4] + u / strides[2];
            size_t const tap = ((z % strides[0]) * strides[1] + v % strides[1]) * strides[2] + u % strides[2];
            float sum = bias.empty() ? 0.0F : bias[o];
            for (int64_t i = 0; i < w.shape[0]; ++i) {
                sum += x.numbers[i * in + source] * w.numbers[(i * w.shape[1] + o) * taps + tap];
            }
            y.numbers[o * out + at] = sum;
        }
    }
    return y;
}

inline Values normalised(Node const& node, Values x, Values const& scale, Values const& shift, bool half) {
    size_t const voxels = volume(x.shape, 2);
    float const epsilon = node.floats.at("epsilon");
    auto keep = [half](double value) { return half ? double(rounded(float(value))) : value; };
    for (int64_t c = 0; c < x.shape[1]; ++c) {
        float* at = x.numbers.data() + c * voxels;
        double sum = 0, squares = 0;
        for (size_t i = 0; i < voxels; ++i) sum = keep(sum + at[i]);
        double const mean = sum / voxels;
        for (size_t i = 0; i < voxels; ++i) squares = keep(squares + (at[i] - mean) * (at[i] - mean));
        double const factor = scale.numbers[c] / std::sqrt(squares / voxels + epsilon);
        for (size_t i = 0; i < voxels; ++i) at[i] = float((at[i] - mean) * factor + shift.numbers[c]);
    }
    return x;
}

// Joins along the channels.
inline Values joined(std::vector<Values const*> const& parts) {
    Values y = *parts[0];
    for (size_t i = 1; i < parts.size(); ++i) {
        y.shape[1] += parts[i]->shape[1];
        y.numbers.insert(y.numbers.end(), parts[i]->numbers.begin(), parts[i]->numbers.end());
    }
    return y;
}

// `half[i]` is of node i.
inline Values run(onnx::Graph const& graph, std::vector<bool> const& half, Values input) {
    std::map<std::string, Values> known{{graph.input, std::move(input)}};
    for (size_t n = 0; n < graph.nodes.size(); ++n) {
        Node const& node = graph.nodes[n];
        auto value = [&](size_t i) {
            auto constant = graph.constants.find(node.inputs.at(i));
            Values found = constant != graph.constants.end() ? constant->second : known.at(node.inputs.at(i));
            if (half[n]) round(found.numbers);
            return found;
        };
        Values y;
        if (node.op == "Conv" || node.op == "ConvTranspose") {
            auto bias = node.inputs.size() > 2 ? value(2).numbers : std::vector<float>();
            y = node.op == "Conv" ? conv(node, value(0), value(1), bias) : transposed(node, value(0), value(1), bias);
        } else if (node.op == "InstanceNormalization") {
            y = normalised(node, value(0), value(1), value(2), half[n]);
        } else if (node.op == "LeakyRelu") {
            float const slope = node.floats.at("alpha");
            y = value(0);
            for (float& v : y.numbers) v = v < 0 ? slope * v : v;
        } else if (node.op == "Concat") {
            need(node.list("axis", {}) == std::vector<int64_t>{1}, node);
            std::vector<Values> parts;
            for (size_t i = 0; i < node.inputs.size(); ++i) parts.push_back(value(i));
            std::vector<Values const*> all;
            for (Values const& part : parts) all.push_back(&part);
            y = joined(all);
        } else {
            throw std::runtime_error("operator " + node.op + " is not in the stand-in");
        }
        if (half[n]) round(y.numbers);
        known[node.outputs.at(0)] = std::move(y);
    }
    return known.at(graph.output);
}

} // namespace compute
