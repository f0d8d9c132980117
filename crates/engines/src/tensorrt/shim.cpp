// hepalert's door to TensorRT: a flat C interface over its C++ one.
//
// TensorRT exports a handful of C functions; everything else is a C++ virtual table whose order
// changes between majors. So this file is compiled once per major, on the device or in CI,
// against the headers found there, into libhepalert_trt<major>.so. It links to nothing of
// TensorRT or CUDA: the program opens the libraries and passes their entry points in.
//
// Owns the calls and the objects behind them. Refuses to decide: what to load, where plans are
// kept and what an error means to a user is said in Rust. crates/engines/src/tensorrt/abi.rs mirrors
// every declaration below `extern "C"`; a change there counts HEP_INTERFACE up.

#include <NvInfer.h>

#if __has_include(<NvOnnxParser.h>)
#include <NvOnnxParser.h>
#define HEP_PARSER 1
#else
#define HEP_PARSER 0
#endif

#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <string>
#include <vector>

#define HEP_EXPORT __attribute__((visibility("default")))
#define HEP_INTERFACE 1
// TensorRT-RTX counts from 1 and is typed as strictly as TensorRT 11.
#define HEP_RTX (NV_TENSORRT_MAJOR < 8)
#define HEP_STRONG (HEP_RTX || NV_TENSORRT_MAJOR >= 11)
// INormalizationLayer came with 8.6.
#define HEP_NORMALIZATION (HEP_RTX || NV_TENSORRT_MAJOR > 8 || NV_TENSORRT_MINOR >= 6)

using namespace nvinfer1;

namespace {

enum Status : int32_t {
    kDone = 0,
    kNoRuntime = 1,
    kNoEngine = 2,
    kNoContext = 3,
    kNotBound = 4,
    kNotQueued = 5,
    kNoBuilder = 6,
    kNoNetwork = 7,
    kNoParser = 8,
    kNotParsed = 9,
    kNotHalved = 10,
    kNotBuilt = 11,
    kNoMemory = 12,
};

using CreateTop = void* (*)(void* logger, int32_t version);
using CreateParser = void* (*)(void* network, void* logger, int version);
using Sink = void (*)(void* user, int32_t severity, char const* text);

// Errors and warnings only: TensorRT is talkative below.
class Logger final : public ILogger {
public:
    Logger(Sink sink, void* user) : mSink(sink), mUser(user) {}
    void log(Severity severity, char const* text) noexcept override {
        if (severity <= Severity::kWARNING) {
            mSink(mUser, static_cast<int32_t>(severity), text);
        }
    }

private:
    Sink mSink;
    void* mUser;
};

// Declared in the order of need, so that it is taken down in reverse.
struct Engine {
    std::unique_ptr<IRuntime> runtime;
    std::unique_ptr<ICudaEngine> engine;
    std::unique_ptr<IExecutionContext> context;
};

} // namespace

extern "C" {

struct HepTensor {
    char const* name;
    int32_t is_input;
    // DataType: 0 f32, 1 f16, others are not for us.
    int32_t type;
    int32_t rank;
    int64_t shape[8];
};

struct HepBuild {
    void* create_builder;
    // Null where libnvonnxparser is not there.
    void* create_parser;
    uint8_t const* onnx;
    uint64_t onnx_bytes;
    // What earlier builds measured; may be empty.
    uint8_t const* timing;
    uint64_t timing_bytes;
    uint64_t workspace_bytes;
    // 0 f32, 1 f16 with f32 normalisation.
    int32_t half;
    // TensorRT-RTX without a GPU only: build for this capability (86 for 8.6); 0 is this device.
    int32_t capability;
};
}

namespace {

#if HEP_PARSER

// What the parser and the builder make lives until the plan is made.
struct Workshop {
    std::unique_ptr<IBuilder> builder;
    std::unique_ptr<INetworkDefinition> network;
    std::unique_ptr<nvonnxparser::IParser> parser;
    std::unique_ptr<IBuilderConfig> config;
    std::unique_ptr<ITimingCache> timing;
    std::vector<std::vector<uint16_t>> halves;
};

Status parse(Workshop& shop, HepBuild const& wish, Logger* logger) {
    auto create = reinterpret_cast<CreateTop>(wish.create_builder);
    shop.builder.reset(static_cast<IBuilder*>(create(static_cast<ILogger*>(logger), NV_TENSORRT_VERSION)));
    if (!shop.builder) {
        return kNoBuilder;
    }
    // Bit 0 is kEXPLICIT_BATCH where it still means something.
    uint32_t const flags = NV_TENSORRT_MAJOR == 8 ? 1U : 0U;
    shop.network.reset(shop.builder->createNetworkV2(flags));
    if (!shop.network) {
        return kNoNetwork;
    }
    auto createParser = reinterpret_cast<CreateParser>(wish.create_parser);
    if (createParser == nullptr) {
        return kNoParser;
    }
    shop.parser.reset(static_cast<nvonnxparser::IParser*>(
        createParser(shop.network.get(), static_cast<ILogger*>(logger), static_cast<int>(NV_ONNX_PARSER_VERSION))));
    if (!shop.parser) {
        return kNoParser;
    }
#if NV_TENSORRT_MAJOR == 8 && HEP_NORMALIZATION
    // Later parsers do so by themselves: TensorRT's own layer, no plugin library.
    shop.parser->setFlag(nvonnxparser::OnnxParserFlag::kNATIVE_INSTANCENORM);
#endif
    if (shop.parser->parse(wish.onnx, static_cast<size_t>(wish.onnx_bytes))) {
        return kDone;
    }
    for (int32_t i = 0; i < shop.parser->getNbErrors(); ++i) {
        logger->log(ILogger::Severity::kERROR, shop.parser->getError(i)->desc());
    }
    return kNotParsed;
}

#if HEP_STRONG

// Round to nearest, ties to even; too large becomes infinite, as the hardware does.
uint16_t halfOf(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    uint32_t const sign = (bits >> 16) & 0x8000U;
    uint32_t const magnitude = bits & 0x7FFFFFFFU;
    if (magnitude > 0x7F800000U) {
        return static_cast<uint16_t>(sign | 0x7E00U);
    }
    if (magnitude >= 0x477FF000U) {
        return static_cast<uint16_t>(sign | 0x7C00U);
    }
    if (magnitude < 0x38800000U) {
        // A subnormal half counts units of 2^-24; adding 0.5 lets the FPU round to them.
        float shifted;
        std::memcpy(&shifted, &magnitude, sizeof shifted);
        shifted += 0.5F;
        uint32_t rounded;
        std::memcpy(&rounded, &shifted, sizeof rounded);
        return static_cast<uint16_t>(sign | (rounded - 0x3F000000U));
    }
    uint32_t const odd = (magnitude >> 13) & 1U;
    return static_cast<uint16_t>(sign | ((magnitude - 0x38000000U + 0xFFFU + odd) >> 13));
}

Weights halved(Workshop& shop, Weights weights) {
    if (weights.type != DataType::kFLOAT || weights.count == 0) {
        return weights;
    }
    auto const* values = static_cast<float const*>(weights.values);
    std::vector<uint16_t> half(static_cast<size_t>(weights.count));
    for (size_t i = 0; i < half.size(); ++i) {
        half[i] = halfOf(values[i]);
    }
    shop.halves.push_back(std::move(half));
    return Weights{DataType::kHALF, shop.halves.back().data(), weights.count};
}

// Everything that read `from` reads `to`.
void rewire(INetworkDefinition& network, int32_t layers, ITensor* from, ITensor* to) {
    for (int32_t i = 0; i < layers; ++i) {
        ILayer* layer = network.getLayer(i);
        for (int32_t input = 0; input < layer->getNbInputs(); ++input) {
            if (layer->getInput(input) == from) {
                layer->setInput(input, *to);
            }
        }
    }
    for (int32_t i = 0; i < network.getNbOutputs(); ++i) {
        if (network.getOutput(i) == from) {
            std::string const name = from->getName();
            network.unmarkOutput(*from);
            from->setName((name + "_half").c_str());
            to->setName(name.c_str());
            network.markOutput(*to);
            return;
        }
    }
}

// A network that is strongly typed computes in the types it is written in: convolutions are
// rewritten to f16 with casts around them, all else stays f32. TensorRT fuses the casts.
Status makeHalf(Workshop& shop) {
    INetworkDefinition& network = *shop.network;
    int32_t const layers = network.getNbLayers();
    for (int32_t i = 0; i < layers; ++i) {
        ILayer* layer = network.getLayer(i);
        bool const plain = layer->getType() == LayerType::kCONVOLUTION;
        bool const transposed = layer->getType() == LayerType::kDECONVOLUTION;
        if (!plain && !transposed) {
            continue;
        }
        if (plain) {
            auto* convolution = static_cast<IConvolutionLayer*>(layer);
            convolution->setKernelWeights(halved(shop, convolution->getKernelWeights()));
            convolution->setBiasWeights(halved(shop, convolution->getBiasWeights()));
        } else {
            auto* convolution = static_cast<IDeconvolutionLayer*>(layer);
            convolution->setKernelWeights(halved(shop, convolution->getKernelWeights()));
            convolution->setBiasWeights(halved(shop, convolution->getBiasWeights()));
        }
        // Weights that the parser made inputs of their own are cast like the image.
        for (int32_t input = 0; input < layer->getNbInputs(); ++input) {
            ITensor* tensor = layer->getInput(input);
            if (tensor == nullptr || tensor->getType() != DataType::kFLOAT) {
                continue;
            }
            ICastLayer* down = network.addCast(*tensor, DataType::kHALF);
            if (down == nullptr) {
                return kNotHalved;
            }
            layer->setInput(input, *down->getOutput(0));
        }
        ICastLayer* up = network.addCast(*layer->getOutput(0), DataType::kFLOAT);
        if (up == nullptr) {
            return kNotHalved;
        }
        rewire(network, layers, layer->getOutput(0), up->getOutput(0));
    }
    return kDone;
}

#else

bool staysFloat(LayerType type) {
    switch (type) {
    case LayerType::kREDUCE:
    case LayerType::kUNARY:
    case LayerType::kSOFTMAX:
        return true;
#if HEP_NORMALIZATION
    case LayerType::kNORMALIZATION:
        return true;
#else
    // TensorRT 8.5 takes an instance normalisation apart into these.
    case LayerType::kELEMENTWISE:
        return true;
#endif
    default:
        return false;
    }
}

// f16 wherever TensorRT finds it faster, but for the layers whose sums and roots lose a
// U-Net's signal in it: the known source of black f16 label maps.
Status makeHalf(Workshop& shop) {
    shop.config->setFlag(BuilderFlag::kFP16);
    shop.config->setFlag(BuilderFlag::kOBEY_PRECISION_CONSTRAINTS);
    int32_t const layers = shop.network->getNbLayers();
    for (int32_t i = 0; i < layers; ++i) {
        ILayer* layer = shop.network->getLayer(i);
        if (!staysFloat(layer->getType())) {
            continue;
        }
        layer->setPrecision(DataType::kFLOAT);
#if HEP_NORMALIZATION
        if (layer->getType() == LayerType::kNORMALIZATION) {
            static_cast<INormalizationLayer*>(layer)->setComputePrecision(DataType::kFLOAT);
        }
#endif
    }
    return kDone;
}

#endif

Status configure(Workshop& shop, HepBuild const& wish) {
    shop.config.reset(shop.builder->createBuilderConfig());
    if (!shop.config) {
        return kNoBuilder;
    }
    shop.config->setMemoryPoolLimit(
        MemoryPoolType::kWORKSPACE, static_cast<size_t>(wish.workspace_bytes));
    // f32 means f32: TF32 keeps ten bits of mantissa.
    shop.config->clearFlag(BuilderFlag::kTF32);
#if HEP_RTX
    // RTX compiles its kernels on the user's machine and has nothing to time here.
    if (wish.capability != 0) {
        shop.config->setNbComputeCapabilities(1);
        auto const capability = static_cast<ComputeCapability>(wish.capability);
        shop.config->setComputeCapability(capability, 0);
    }
#else
    // A cache of another device or version is refused here; an empty one always fits.
    shop.timing.reset(shop.config->createTimingCache(
        wish.timing, static_cast<size_t>(wish.timing_bytes)));
    if (!shop.timing || !shop.config->setTimingCache(*shop.timing, false)) {
        shop.timing.reset(shop.config->createTimingCache(nullptr, 0));
        if (shop.timing) {
            shop.config->setTimingCache(*shop.timing, false);
        }
    }
#endif
    return wish.half != 0 ? makeHalf(shop) : kDone;
}

Status build(HepBuild const& wish, Logger* logger, IHostMemory*& plan, IHostMemory*& timing) {
    Workshop shop;
    Status status = parse(shop, wish, logger);
    if (status == kDone) {
        status = configure(shop, wish);
    }
    if (status != kDone) {
        return status;
    }
    plan = shop.builder->buildSerializedNetwork(*shop.network, *shop.config);
#if !HEP_RTX
    if (plan != nullptr && shop.timing) {
        timing = shop.timing->serialize();
    }
#else
    timing = nullptr;
#endif
    return plan != nullptr ? kDone : kNotBuilt;
}

#endif // HEP_PARSER

} // namespace

extern "C" {

// Counted up with every change of this interface.
HEP_EXPORT int32_t hep_interface() {
    return HEP_INTERFACE;
}

// The headers' version: major * 10000 + minor * 100 + patch, for every major.
HEP_EXPORT int32_t hep_headers() {
    return NV_TENSORRT_MAJOR * 10000 + NV_TENSORRT_MINOR * 100 + NV_TENSORRT_PATCH;
}

// Whether ONNX can be read: the parser's headers were there.
HEP_EXPORT int32_t hep_has_parser() {
    return HEP_PARSER;
}

HEP_EXPORT void* hep_logger(Sink sink, void* user) {
    return new (std::nothrow) Logger(sink, user);
}

HEP_EXPORT void hep_logger_free(void* logger) {
    delete static_cast<Logger*>(logger);
}

// Deserialises a plan. `create_runtime` is the library's createInferRuntime_INTERNAL.
HEP_EXPORT int32_t hep_engine(
    void* create_runtime, void* logger, uint8_t const* plan, uint64_t bytes, void** made) {
    auto engine = std::unique_ptr<Engine>(new (std::nothrow) Engine());
    if (!engine) {
        return kNoMemory;
    }
    auto create = reinterpret_cast<CreateTop>(create_runtime);
    ILogger* log = static_cast<Logger*>(logger);
    engine->runtime.reset(static_cast<IRuntime*>(create(log, NV_TENSORRT_VERSION)));
    if (!engine->runtime) {
        return kNoRuntime;
    }
    engine->engine.reset(
        engine->runtime->deserializeCudaEngine(plan, static_cast<size_t>(bytes)));
    if (!engine->engine) {
        return kNoEngine;
    }
    *made = engine.release();
    return kDone;
}

HEP_EXPORT void hep_engine_free(void* engine) {
    delete static_cast<Engine*>(engine);
}

HEP_EXPORT int32_t hep_tensors(void* handle) {
    return static_cast<Engine*>(handle)->engine->getNbIOTensors();
}

// `found->name` lives as long as the engine.
HEP_EXPORT void hep_tensor(void* handle, int32_t index, HepTensor* found) {
    ICudaEngine& engine = *static_cast<Engine*>(handle)->engine;
    found->name = engine.getIOTensorName(index);
    found->is_input = engine.getTensorIOMode(found->name) == TensorIOMode::kINPUT ? 1 : 0;
    found->type = static_cast<int32_t>(engine.getTensorDataType(found->name));
    auto const shape = engine.getTensorShape(found->name);
    found->rank = shape.nbDims;
    for (int32_t i = 0; i < shape.nbDims && i < 8; ++i) {
        found->shape[i] = shape.d[i];
    }
}

// Bytes that a context takes on the device beside weights and tensors.
HEP_EXPORT int64_t hep_scratch_bytes(void* handle) {
    ICudaEngine& engine = *static_cast<Engine*>(handle)->engine;
#if HEP_RTX || NV_TENSORRT_MAJOR >= 11
    return engine.getDeviceMemorySizeV2();
#else
    return static_cast<int64_t>(engine.getDeviceMemorySize());
#endif
}

HEP_EXPORT int32_t hep_context(void* handle) {
    auto* engine = static_cast<Engine*>(handle);
    engine->context.reset(engine->engine->createExecutionContext());
    return engine->context ? kDone : kNoContext;
}

HEP_EXPORT int32_t hep_bind(void* handle, char const* name, void* address) {
    auto* engine = static_cast<Engine*>(handle);
    return engine->context->setTensorAddress(name, address) ? kDone : kNotBound;
}

HEP_EXPORT int32_t hep_enqueue(void* handle, void* stream) {
    auto* engine = static_cast<Engine*>(handle);
    return engine->context->enqueueV3(static_cast<cudaStream_t>(stream)) ? kDone : kNotQueued;
}

// Compiles ONNX to a plan. `timing` may stay null; both are freed with hep_blob_free.
HEP_EXPORT int32_t hep_build(HepBuild const* wish, void* logger, void** plan, void** timing) {
#if HEP_PARSER
    IHostMemory* made = nullptr;
    IHostMemory* measured = nullptr;
    Status const status = build(*wish, static_cast<Logger*>(logger), made, measured);
    *plan = made;
    *timing = measured;
    return status;
#else
    (void) wish, (void) logger, (void) plan, (void) timing;
    return kNoParser;
#endif
}

HEP_EXPORT uint8_t const* hep_blob(void* blob, uint64_t* bytes) {
    auto* memory = static_cast<IHostMemory*>(blob);
    *bytes = memory->size();
    return static_cast<uint8_t const*>(memory->data());
}

HEP_EXPORT void hep_blob_free(void* blob) {
    delete static_cast<IHostMemory*>(blob);
}
}
