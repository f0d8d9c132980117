// Just enough of ONNX for the test bundles: one graph of nodes, initialisers of f32, one input
// and one output of fixed shape. Throws std::runtime_error on anything else.
#pragma once

#include <cstdint>
#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace onnx {

struct Values {
    std::vector<int64_t> shape;
    std::vector<float> numbers;
};

struct Node {
    std::string op;
    std::vector<std::string> inputs, outputs;
    std::map<std::string, std::vector<int64_t>> ints;
    std::map<std::string, float> floats;

    std::vector<int64_t> list(char const* name, std::vector<int64_t> otherwise) const {
        auto found = ints.find(name);
        return found == ints.end() ? otherwise : found->second;
    }
};

struct Graph {
    std::vector<Node> nodes;
    std::map<std::string, Values> constants;
    std::string input, output;
    std::vector<int64_t> inputShape, outputShape;
};

// A stretch of protobuf: fields of a number, a wire type and a value.
struct Wire {
    uint8_t const* at;
    uint8_t const* end;

    uint64_t varint() {
        uint64_t value = 0;
        for (int shift = 0; shift < 64; shift += 7) {
            if (at == end) throw std::runtime_error("the file ends within a number");
            uint8_t const byte = *at++;
            value |= static_cast<uint64_t>(byte & 0x7F) << shift;
            if ((byte & 0x80) == 0) return value;
        }
        throw std::runtime_error("a number is too long");
    }
    Wire bytes() {
        uint64_t const length = varint();
        if (length > static_cast<uint64_t>(end - at)) throw std::runtime_error("the file is cut");
        Wire const part{at, at + length};
        at += length;
        return part;
    }
    std::string text() const { return std::string(reinterpret_cast<char const*>(at), end - at); }
    float fixed32() {
        float value;
        if (end - at < 4) throw std::runtime_error("the file is cut");
        std::memcpy(&value, at, 4);
        at += 4;
        return value;
    }
    void skip(int type) {
        if (type == 0) varint();
        else if (type == 1) take(8);
        else if (type == 2) bytes();
        else if (type == 5) take(4);
        else throw std::runtime_error("this is not protobuf");
    }
    void take(ptrdiff_t count) {
        if (end - at < count) throw std::runtime_error("the file is cut");
        at += count;
    }
    // Calls `visit(number, type, *this)`, which reads the value and says so, or not.
    template <typename Visit>
    void fields(Visit visit) {
        while (at != end) {
            uint64_t const tag = varint();
            int const type = static_cast<int>(tag & 7);
            if (!visit(static_cast<int>(tag >> 3), type, *this)) skip(type);
        }
    }
};

// Repeated integers come packed or one by one.
inline void integers(std::vector<int64_t>& to, int type, Wire& wire) {
    if (type != 2) {
        to.push_back(static_cast<int64_t>(wire.varint()));
        return;
    }
    Wire packed = wire.bytes();
    while (packed.at != packed.end) to.push_back(static_cast<int64_t>(packed.varint()));
}

inline std::pair<std::string, Values> tensor(Wire wire) {
    std::string name;
    Values found;
    uint64_t kind = 0;
    wire.fields([&](int number, int type, Wire& w) {
        if (number == 1) integers(found.shape, type, w);
        else if (number == 2) kind = w.varint();
        else if (number == 8) name = w.bytes().text();
        else if (number == 4 && type == 2) {
            Wire packed = w.bytes();
            while (packed.at != packed.end) found.numbers.push_back(packed.fixed32());
        } else if (number == 9) {
            Wire raw = w.bytes();
            found.numbers.resize(static_cast<size_t>(raw.end - raw.at) / 4);
            std::memcpy(found.numbers.data(), raw.at, found.numbers.size() * 4);
        } else return false;
        return true;
    });
    if (kind != 1) throw std::runtime_error("initialiser " + name + " is not f32");
    return {name, found};
}

inline Node node(Wire wire) {
    Node found;
    wire.fields([&](int number, int, Wire& w) {
        if (number == 1) found.inputs.push_back(w.bytes().text());
        else if (number == 2) found.outputs.push_back(w.bytes().text());
        else if (number == 4) found.op = w.bytes().text();
        else if (number == 5) {
            std::string name;
            std::vector<int64_t> ints;
            float real = 0;
            w.bytes().fields([&](int field, int type, Wire& a) {
                if (field == 1) name = a.bytes().text();
                else if (field == 2) real = a.fixed32();
                else if (field == 3 || field == 8) integers(ints, type, a);
                else return false;
                return true;
            });
            found.ints[name] = ints;
            found.floats[name] = real;
        } else return false;
        return true;
    });
    return found;
}

inline std::pair<std::string, std::vector<int64_t>> end(Wire wire) {
    std::string name;
    std::vector<int64_t> shape;
    auto dimension = [&](int number, int, Wire& w) {
        if (number != 1) return false;
        shape.push_back(static_cast<int64_t>(w.varint()));
        return true;
    };
    auto shapes = [&](int number, int, Wire& w) {
        if (number != 1) return false;
        w.bytes().fields(dimension);
        return true;
    };
    auto tensors = [&](int number, int, Wire& w) {
        if (number != 2) return false;
        w.bytes().fields(shapes);
        return true;
    };
    auto types = [&](int number, int, Wire& w) {
        if (number != 1) return false;
        w.bytes().fields(tensors);
        return true;
    };
    wire.fields([&](int number, int, Wire& w) {
        if (number == 1) name = w.bytes().text();
        else if (number == 2) w.bytes().fields(types);
        else return false;
        return true;
    });
    return {name, shape};
}

inline Graph read(void const* bytes, size_t length) {
    auto const* start = static_cast<uint8_t const*>(bytes);
    Graph graph;
    int graphs = 0;
    Wire{start, start + length}.fields([&](int number, int type, Wire& model) {
        if (number != 7 || type != 2) return false;
        ++graphs;
        model.bytes().fields([&](int field, int, Wire& w) {
            if (field == 1) graph.nodes.push_back(node(w.bytes()));
            else if (field == 5) graph.constants.insert(tensor(w.bytes()));
            else if (field == 11) std::tie(graph.input, graph.inputShape) = end(w.bytes());
            else if (field == 12) std::tie(graph.output, graph.outputShape) = end(w.bytes());
            else return false;
            return true;
        });
        return true;
    });
    if (graphs != 1 || graph.nodes.empty()) throw std::runtime_error("no network in this file");
    if (graph.inputShape.size() != 5 || graph.outputShape.size() != 5) {
        throw std::runtime_error("input and output must have five axes");
    }
    return graph;
}

} // namespace onnx
