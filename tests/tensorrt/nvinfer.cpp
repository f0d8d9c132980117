// A stand-in for libnvinfer and libnvonnxparser: TensorRT's own interface classes, from its own
// headers, over arithmetic on the CPU. Its "plan" is the ONNX file behind a head that says in
// which numbers each node is computed. It says nothing of a GPU's speed or rounding; it shows
// that everything up to TensorRT's door is right, and what happens when TensorRT fails.
//
// Typed as strictly as the headers' major: up to 10 nodes are f16 if the flag is set and nothing
// forbids it, from 11 on if their weights and inputs are.
//
// HEPALERT_STAND_IN (a comma-separated list) makes it fail: `null-runtime`, `null-engine`,
// `null-engine-once`, `null-context`, `null-builder`, `null-plan`, `enqueue-fails`, `hang`, `nan`,
// `constant`, `half-ends` (a plan whose input and output are f16), `ignores-precision` (f16
// everywhere, whatever a layer asks for). HEPALERT_STAND_IN_VERSION is what getInferLibVersion
// answers.

#include <NvInfer.h>
#include <NvOnnxParser.h>

#include <cstdio>
#include <cstdlib>
#include <dlfcn.h>
#include <memory>
#include <unistd.h>

[[noreturn]] void missing(char const* name) {
    std::fprintf(stderr, "stand-in: %s is not there\n", name);
    std::abort();
}

#include "stubs.inc"

#include "compute.hpp"

using namespace nvinfer1;

namespace {

bool told(char const* word) {
    char const* all = std::getenv("HEPALERT_STAND_IN");
    return all != nullptr && ("," + std::string(all) + ",").find("," + std::string(word) + ",") != std::string::npos;
}

int32_t version() {
    char const* other = std::getenv("HEPALERT_STAND_IN_VERSION");
    if (other != nullptr) return std::stoi(other);
#if NV_TENSORRT_MAJOR == 8
    return NV_TENSORRT_MAJOR * 1000 + NV_TENSORRT_MINOR * 100 + NV_TENSORRT_PATCH;
#else
    return NV_TENSORRT_VERSION;
#endif
}

void say(ILogger* logger, std::string const& text) {
    logger->log(ILogger::Severity::kERROR, text.c_str());
}

struct Plan {
    static constexpr char kMagic[9] = "HEPSTAND";
    bool halfEnds = false;
    std::vector<bool> half;
    std::string network;

    std::string written() const {
        int32_t const head[3] = {version(), halfEnds ? 1 : 0, static_cast<int32_t>(half.size())};
        std::string bytes(kMagic, 8);
        bytes.append(reinterpret_cast<char const*>(head), sizeof head);
        for (bool one : half) bytes.push_back(one ? 1 : 0);
        return bytes + network;
    }
    // As TensorRT: the head is checked, the weights are not.
    static Plan read(void const* blob, size_t size) {
        std::string const bytes(static_cast<char const*>(blob), size);
        int32_t head[3];
        if (size < 8 + sizeof head || bytes.compare(0, 8, kMagic) != 0) {
            throw std::runtime_error("the plan does not begin as one");
        }
        std::memcpy(head, bytes.data() + 8, sizeof head);
        if (head[0] != version()) throw std::runtime_error("the plan is of another version");
        Plan plan;
        size_t const start = 8 + sizeof head, nodes = static_cast<size_t>(head[2]);
        if (size - start < nodes) throw std::runtime_error("the plan is cut");
        plan.halfEnds = head[1] == 1;
        for (size_t i = 0; i < nodes; ++i) plan.half.push_back(bytes[start + i] == 1);
        plan.network = bytes.substr(start + nodes);
        return plan;
    }
};

struct Bytes final : IHostMemory, apiv::StubVHostMemory {
    std::string content;
    explicit Bytes(std::string bytes) : content(std::move(bytes)) { mImpl = this; }
    void* data() const noexcept override { return const_cast<char*>(content.data()); }
    std::size_t size() const noexcept override { return content.size(); }
    DataType type() const noexcept override { return DataType::kINT8; }
};

// ---- running ----

struct Job {
    std::shared_ptr<onnx::Graph> graph;
    std::vector<bool> half;
    bool halfEnds;
    void const* from;
    void* to;

    void run() const {
        compute::Values input{graph->inputShape, {}};
        input.numbers.resize(compute::volume(input.shape));
        for (size_t i = 0; i < input.numbers.size(); ++i) {
            input.numbers[i] = halfEnds ? wide(static_cast<uint16_t const*>(from)[i]) : static_cast<float const*>(from)[i];
        }
        auto const result = compute::run(*graph, half, std::move(input)).numbers;
        for (size_t i = 0; i < result.size(); ++i) {
            float const value = told("nan") ? NAN : told("constant") ? 0.25F : result[i];
            if (halfEnds) static_cast<uint16_t*>(to)[i] = narrow(value);
            else static_cast<float*>(to)[i] = value;
        }
    }
    static float wide(uint16_t bits) {
        int const exponent = bits >> 10 & 31, mantissa = bits & 1023;
        float const size = exponent == 0 ? std::ldexp(float(mantissa), -24)
            : exponent == 31            ? (mantissa != 0 ? NAN : INFINITY)
                                        : std::ldexp(float(1024 + mantissa), exponent - 25);
        return bits & 0x8000 ? -size : size;
    }
    static uint16_t narrow(float value) {
        uint16_t const sign = std::signbit(value) ? 0x8000 : 0;
        float const size = std::fabs(compute::rounded(value));
        if (std::isnan(size)) return 0x7E00;
        if (std::isinf(size)) return sign | 0x7C00;
        if (size < std::ldexp(1.0F, -14)) return sign | uint16_t(std::ldexp(size, 24));
        int exponent;
        float const mantissa = std::frexp(size, &exponent);
        return sign | uint16_t((exponent + 14) << 10) | (uint16_t(std::ldexp(mantissa, 11)) & 1023);
    }
};

struct Context final : IExecutionContext, apiv::StubVExecutionContext {
    Job job;
    explicit Context(Job made) : job(std::move(made)) { mImpl = this; }
    bool setTensorAddress(char const* name, void* data) noexcept override {
        if (job.graph->input == name) job.from = data;
        else if (job.graph->output == name) job.to = data;
        else return false;
        return data != nullptr;
    }
    bool enqueueV3(cudaStream_t stream) noexcept override {
        if (told("enqueue-fails")) return false;
        while (told("hang")) sleep(1);
        using Launch = int (*)(cudaStream_t, void (*)(void*), void*);
        void* driver = dlopen("libcuda.so", RTLD_LAZY | RTLD_NOLOAD);
        auto launch = driver ? reinterpret_cast<Launch>(dlsym(driver, "cuLaunchHostFunc")) : nullptr;
        if (launch == nullptr) return false;
        auto run = [](void* user) {
            std::unique_ptr<Job>(static_cast<Job*>(user))->run();
        };
        return launch(stream, run, new Job(job)) == 0;
    }
};

struct Engine final : ICudaEngine, apiv::StubVCudaEngine {
    ILogger* logger;
    Job job;
    Engine(ILogger* log, Plan const& plan) : logger(log) {
        mImpl = this;
        auto graph = onnx::read(plan.network.data(), plan.network.size());
        if (graph.nodes.size() != plan.half.size()) throw std::runtime_error("the plan is cut");
        job = Job{std::make_shared<onnx::Graph>(std::move(graph)), plan.half, plan.halfEnds, nullptr, nullptr};
    }
    bool isInput(char const* name) const { return job.graph->input == name; }
    int32_t getNbIOTensors() const noexcept override { return 2; }
    char const* getIOTensorName(int32_t i) const noexcept override {
        return (i == 0 ? job.graph->input : job.graph->output).c_str();
    }
    TensorIOMode getTensorIOMode(char const* name) const noexcept override {
        return isInput(name) ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
    }
    DataType getTensorDataType(char const*) const noexcept override {
        return job.halfEnds ? DataType::kHALF : DataType::kFLOAT;
    }
    Dims getTensorShape(char const* name) const noexcept override {
        auto const& shape = isInput(name) ? job.graph->inputShape : job.graph->outputShape;
        Dims dims{};
        dims.nbDims = static_cast<int32_t>(shape.size());
        for (size_t i = 0; i < shape.size(); ++i) dims.d[i] = shape[i];
        return dims;
    }
#if NV_TENSORRT_MAJOR >= 11
    int64_t getDeviceMemorySizeV2() const noexcept override { return int64_t{64} << 20; }
#else
    size_t getDeviceMemorySize() const noexcept override { return size_t{64} << 20; }
#endif
#if NV_TENSORRT_MAJOR == 8
    IExecutionContext* createExecutionContext() noexcept override {
#else
    IExecutionContext* createExecutionContext(ExecutionContextAllocationStrategy) noexcept override {
#endif
        if (!told("null-context")) return new Context(job);
        say(logger, "Requested amount of GPU memory could not be allocated");
        return nullptr;
    }
};

struct Runtime final : IRuntime, apiv::StubVRuntime {
    ILogger* logger;
    explicit Runtime(ILogger* log) : logger(log) { mImpl = this; }
#if NV_TENSORRT_MAJOR == 8
    ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size, IPluginFactory*) noexcept override {
#else
    ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept override {
#endif
        static int calls = 0;
        if (told("null-engine") || (told("null-engine-once") && calls++ == 0)) {
            say(logger, "Serialization assertion failed");
            return nullptr;
        }
        try {
            return new Engine(logger, Plan::read(blob, size));
        } catch (std::exception const& fault) {
            say(logger, fault.what());
            return nullptr;
        }
    }
};

// ---- building ----

struct Tensor final : ITensor, apiv::StubVTensor {
    std::string name;
    DataType kind = DataType::kFLOAT;
    explicit Tensor(std::string called) : name(std::move(called)) { mImpl = this; }
    void setName(char const* called) noexcept override { name = called; }
    char const* getName() const noexcept override { return name.c_str(); }
    DataType getType() const noexcept override { return kind; }
};

struct Facts {
    LayerType kind = LayerType::kACTIVATION;
    std::vector<Tensor*> from;
    Tensor* to = nullptr;
    bool forcedFloat = false;
    Weights kernel{DataType::kFLOAT, nullptr, 0}, bias{DataType::kFLOAT, nullptr, 0};
    ILayer* face = nullptr;
    // Which ONNX node; -1 is a cast.
    int node = -1;
    virtual ~Facts() = default;
};

template <typename Interface>
struct Layer : Interface, apiv::StubVLayer, Facts {
    Layer() {
        this->mLayer = this;
        face = this;
    }
    LayerType getType() const noexcept override { return kind; }
    int32_t getNbInputs() const noexcept override { return static_cast<int32_t>(from.size()); }
    ITensor* getInput(int32_t i) const noexcept override { return from[i]; }
    ITensor* getOutput(int32_t) const noexcept override { return to; }
    void setInput(int32_t i, ITensor& tensor) noexcept override { from[i] = static_cast<Tensor*>(&tensor); }
#if NV_TENSORRT_MAJOR <= 10
    void setPrecision(DataType type) noexcept override {
        forcedFloat = type == DataType::kFLOAT && !told("ignores-precision");
    }
#endif
};

struct Plain final : Layer<ILayer> {};
struct Cast final : Layer<ICastLayer> {};

template <typename Interface, typename Impl>
struct Weighted final : Layer<Interface>, Impl {
    Weighted() { this->mImpl = this; }
    void setKernelWeights(Weights weights) noexcept override { this->kernel = weights; }
    Weights getKernelWeights() const noexcept override { return this->kernel; }
    void setBiasWeights(Weights weights) noexcept override { this->bias = weights; }
    Weights getBiasWeights() const noexcept override { return this->bias; }
};
using Convolution = Weighted<IConvolutionLayer, apiv::StubVConvolutionLayer>;
using Deconvolution = Weighted<IDeconvolutionLayer, apiv::StubVDeconvolutionLayer>;

struct Normalization final : Layer<INormalizationLayer>, apiv::StubVNormalizationLayer {
    Normalization() { mImpl = this; }
#if NV_TENSORRT_MAJOR <= 10
    void setComputePrecision(DataType) noexcept override {}
#endif
};

struct Network final : INetworkDefinition, apiv::StubVNetworkDefinition {
    std::string file;
    onnx::Graph graph;
    std::map<std::string, std::unique_ptr<Tensor>> tensors;
    std::vector<std::unique_ptr<Tensor>> added;
    std::vector<std::unique_ptr<Facts>> layers;
    std::vector<Tensor*> outputs;

    Network() { mImpl = this; }
    Tensor* tensor(std::string const& name) {
        auto& found = tensors[name];
        if (!found) found = std::make_unique<Tensor>(name);
        return found.get();
    }
    Weights weights(std::string const& name) const {
        auto const& numbers = graph.constants.at(name).numbers;
        return Weights{DataType::kFLOAT, numbers.data(), static_cast<int64_t>(numbers.size())};
    }
    void read(void const* bytes, size_t length) {
        file.assign(static_cast<char const*>(bytes), length);
        graph = onnx::read(bytes, length);
        for (size_t n = 0; n < graph.nodes.size(); ++n) add(graph.nodes[n], static_cast<int>(n));
        outputs.push_back(tensor(graph.output));
    }
    void add(onnx::Node const& node, int number) {
        std::unique_ptr<Facts> layer;
        if (node.op == "Conv") layer = std::make_unique<Convolution>(), layer->kind = LayerType::kCONVOLUTION;
        else if (node.op == "ConvTranspose") layer = std::make_unique<Deconvolution>(), layer->kind = LayerType::kDECONVOLUTION;
        else if (node.op == "InstanceNormalization") layer = std::make_unique<Normalization>(), layer->kind = LayerType::kNORMALIZATION;
        else layer = std::make_unique<Plain>(), layer->kind = node.op == "Concat" ? LayerType::kCONCATENATION : LayerType::kACTIVATION;
        layer->node = number;
        for (std::string const& name : node.inputs) {
            if (graph.constants.count(name) == 0) layer->from.push_back(tensor(name));
        }
        if (node.op == "Conv" || node.op == "ConvTranspose") {
            layer->kernel = weights(node.inputs.at(1));
            if (node.inputs.size() > 2) layer->bias = weights(node.inputs[2]);
        }
        layer->to = tensor(node.outputs.at(0));
        layers.push_back(std::move(layer));
    }
    int32_t getNbLayers() const noexcept override { return static_cast<int32_t>(layers.size()); }
    ILayer* getLayer(int32_t i) const noexcept override { return layers[i]->face; }
    int32_t getNbOutputs() const noexcept override { return static_cast<int32_t>(outputs.size()); }
    ITensor* getOutput(int32_t i) const noexcept override { return outputs[i]; }
    void unmarkOutput(ITensor& tensor) noexcept override {
        for (size_t i = 0; i < outputs.size(); ++i) {
            if (outputs[i] == &tensor) outputs.erase(outputs.begin() + static_cast<ptrdiff_t>(i));
        }
    }
    void markOutput(ITensor& tensor) noexcept override { outputs.push_back(static_cast<Tensor*>(&tensor)); }
    ICastLayer* addCast(ITensor& from, DataType type) noexcept override {
        auto layer = std::make_unique<Cast>();
        layer->kind = LayerType::kCAST;
        layer->from.push_back(static_cast<Tensor*>(&from));
        added.push_back(std::make_unique<Tensor>(std::string(from.getName()) + "_cast"));
        layer->to = added.back().get();
        layer->to->kind = type;
        Cast* face = layer.get();
        layers.push_back(std::move(layer));
        return face;
    }

    // Which nodes compute in f16; throws where types do not meet.
    std::vector<bool> halves(bool flag) {
        std::vector<bool> half(graph.nodes.size(), false);
        for (auto& layer : layers) {
            if (layer->node < 0) continue;
            bool const weighted = layer->kernel.count != 0;
            DataType const kind = weighted ? layer->kernel.type : DataType::kFLOAT;
#if NV_TENSORRT_MAJOR >= 11
            for (Tensor* tensor : layer->from) {
                if (tensor->kind != kind) throw std::runtime_error("the types of " + tensor->name + " and its reader differ");
            }
            if (weighted && layer->bias.count != 0 && layer->bias.type != kind) throw std::runtime_error("kernel and bias differ");
            half[static_cast<size_t>(layer->node)] = kind == DataType::kHALF;
            (void) flag;
#else
            half[static_cast<size_t>(layer->node)] = flag && !layer->forcedFloat;
            (void) kind;
#endif
        }
        bool const named = outputs.size() == 1 && outputs[0]->name == graph.output && outputs[0]->kind == DataType::kFLOAT;
        if (!named) throw std::runtime_error("the output is not the network's");
        return half;
    }
    // A convolution's output is of its kernel's type, once that is set.
    void settleTypes() {
        for (auto& layer : layers) {
            if (layer->node >= 0 && layer->kernel.count != 0) layer->to->kind = layer->kernel.type;
        }
    }
};

struct Timing final : ITimingCache, apiv::StubVTimingCache {
    int builds = 0;
    Timing() { mImpl = this; }
    IHostMemory* serialize() const noexcept override { return new Bytes("timing of " + std::to_string(builds) + " builds"); }
};

struct Config final : IBuilderConfig, apiv::StubVBuilderConfig {
    uint32_t flags = 1U << static_cast<uint32_t>(BuilderFlag::kTF32);
    Timing* timing = nullptr;
    Config() { mImpl = this; }
    void setFlag(BuilderFlag flag) noexcept override { flags |= 1U << static_cast<uint32_t>(flag); }
    void clearFlag(BuilderFlag flag) noexcept override { flags &= ~(1U << static_cast<uint32_t>(flag)); }
    void setMemoryPoolLimit(MemoryPoolType, std::size_t) noexcept override {}
    ITimingCache* createTimingCache(void const* blob, std::size_t size) const noexcept override {
        auto cache = std::make_unique<Timing>();
        std::string const text(static_cast<char const*>(blob), size);
        if (size != 0 && std::sscanf(text.c_str(), "timing of %d builds", &cache->builds) != 1) return nullptr;
        return cache.release();
    }
    bool setTimingCache(ITimingCache const& cache, bool) noexcept override {
        timing = const_cast<Timing*>(static_cast<Timing const*>(&cache));
        return true;
    }
};

struct Builder final : IBuilder, apiv::StubVBuilder {
    ILogger* logger;
    explicit Builder(ILogger* log) : logger(log) { mImpl = this; }
    INetworkDefinition* createNetworkV2(NetworkDefinitionCreationFlags) noexcept override { return new Network; }
    IBuilderConfig* createBuilderConfig() noexcept override { return new Config; }
    IHostMemory* buildSerializedNetwork(INetworkDefinition& definition, IBuilderConfig& settings) noexcept override {
        auto& network = static_cast<Network&>(definition);
        auto& config = static_cast<Config&>(settings);
        if (told("null-plan")) {
            say(logger, "Could not find any implementation for node");
            return nullptr;
        }
        if ((config.flags >> static_cast<uint32_t>(BuilderFlag::kTF32) & 1) != 0) {
            say(logger, "stand-in: f32 would be TF32");
            return nullptr;
        }
        try {
            bool flag = false;
#if NV_TENSORRT_MAJOR <= 10
            flag = (config.flags >> static_cast<uint32_t>(BuilderFlag::kFP16) & 1) != 0;
#endif
            Plan plan;
            plan.halfEnds = told("half-ends");
            network.settleTypes();
            plan.half = network.halves(flag);
            plan.network = network.file;
            if (config.timing != nullptr) ++config.timing->builds;
            return new Bytes(plan.written());
        } catch (std::exception const& fault) {
            say(logger, fault.what());
            return nullptr;
        }
    }
};

struct Parser final : nvonnxparser::StubIParser {
    Network* network;
    ILogger* logger;
    Parser(Network* into, ILogger* log) : network(into), logger(log) {}
    // Its faults go to the logger at once.
    int getNbErrors() const noexcept override { return 0; }
#if NV_TENSORRT_MAJOR == 8
    void setFlag(nvonnxparser::OnnxParserFlag) noexcept override {}
#endif
    bool parse(void const* bytes, size_t length, char const*) noexcept override {
        try {
            network->read(bytes, length);
            return true;
        } catch (std::exception const& fault) {
            say(logger, fault.what());
            return false;
        }
    }
};

} // namespace

extern "C" {

int32_t getInferLibVersion() noexcept { return version(); }

void* createInferRuntime_INTERNAL(void* logger, int32_t) noexcept {
    if (told("null-runtime")) return nullptr;
    return static_cast<IRuntime*>(new Runtime(static_cast<ILogger*>(logger)));
}

void* createInferBuilder_INTERNAL(void* logger, int32_t) noexcept {
    if (told("null-builder")) return nullptr;
    return static_cast<IBuilder*>(new Builder(static_cast<ILogger*>(logger)));
}

void* createNvOnnxParser_INTERNAL(void* network, void* logger, int) noexcept {
    auto* definition = static_cast<Network*>(static_cast<INetworkDefinition*>(network));
    return static_cast<nvonnxparser::IParser*>(new Parser(definition, static_cast<ILogger*>(logger)));
}
}
